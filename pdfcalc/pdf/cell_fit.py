"""The perfect crystal that fits a calculated G(r) best: its cell and its displacements refined.

Before an experiment can tell what parts a sample from its perfect crystal, that is refined against
the sample, and takes up part of it. This does so for many calculated G(r) of one crystal, where
`pdfcalc.measured.refinement` takes one measurement with all that is unknown of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pdfcalc.crystals.periodic import equal_lengths
from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.kernels.counts import group_keys
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.pdf.peaks import Mesh, longest_distance, peak_width
from pdfcalc.pdf.response import baseline_response, instrument_response, sampling_strides
from pdfcalc.pdf.species import SpeciesPair, species_of, species_pairs

LENGTHS = (0.9, 1.1)
"""Least and most that a length of the cell may become, over what it was."""
DISPLACEMENTS = (0.3, 12.0)
"""As much of the Uiso of all atoms."""
_SAME = 1e-6
"""A^2 by which parts of the squares of two distances may differ and be the same."""
_STEP = 1e-4
"""Of difference quotients, relative; the response to peaks is known to seven digits."""
_MOST_STEPS = 50
_CONVERGED, _DIGITS = 1e-6, 8
"""Step at which a fit ends, and the decimals that are kept of what is found."""


@dataclass(frozen=True, eq=False)
class CellFit:
    """A crystal as it fits a G(r) best.

    Args:
        lengths: (K,) of the cell that may differ, over what they were.
        uiso: of all atoms, over what they were.
        g: (R,) of this crystal, 1/A^2.
    """

    lengths: np.ndarray
    uiso: float
    g: np.ndarray


class RefinableCrystal:
    """A crystal prepared to be refined against any number of G(r).

    Lengths of the cell that are equal stay equal, angles stay: give the conventional cell.

    Args:
        structure: a unit cell, of no more than some tens of atoms.
        points: indices of the wanted points in `parameters.r`.

    Raises:
        ValueError: a label has no scattering power, or there are several and form factors that
            depend on Q.
    """

    def __init__(
        self, structure: AtomicStructure, parameters: PDFParameters, points: Sequence[int]
    ) -> None:
        if len(set(structure.elements.tolist())) == 1:
            # Those of one element weight all pairs alike.
            parameters = replace(parameters, form_factors="constant")
        self._edges = np.linalg.norm(structure.lattice, axis=1)
        axes = equal_lengths(self._edges)
        self.axes = axes
        """Those of each length that may differ."""
        species = species_of(structure, parameters)
        pairs = species_pairs(species)
        n_atoms = float(structure.occupancy.sum())
        norm = n_atoms / sum(kind.power * len(kind.atoms) for kind in species) ** 2
        self._density = structure.number_density
        self._multiplicity = np.array([len(some) for some in axes.values()])
        self._u_sums, column = np.unique([pair.u_sum for pair in pairs], return_inverse=True)
        narrow, wide = (DISPLACEMENTS[0] * self._u_sums[0], DISPLACEMENTS[1] * self._u_sums[-1])
        longest = longest_distance(parameters.extended_grid, wide, parameters) / LENGTHS[0]
        self._squares, self._weights = _shells(structure, pairs, column, longest, [*axes.values()])
        self._weights *= norm
        shortest = LENGTHS[0] * math.sqrt(self._squares.sum(axis=1).min())
        width = peak_width(np.array([shortest]), narrow, parameters)
        stride = int(sampling_strides(parameters, width)[0])
        self._response = instrument_response(parameters, tuple(points), stride)
        self._baseline = baseline_response(parameters, tuple(points))
        farthest = (LENGTHS[1] + _STEP) * longest
        self._mesh = Mesh(shortest, farthest, narrow, self._response.grid, parameters)

    def lengths_in(self, supercell: np.ndarray) -> np.ndarray:
        """(K,) lengths of the cell, over what they were, in a supercell ((3, 3) rows, A) of it."""
        ratio = np.linalg.norm(supercell, axis=1) / self._edges
        ratio /= np.rint(ratio)
        return np.array([ratio[some].mean() for some in self.axes.values()])

    def pdf(self, lengths: np.ndarray, uiso: float) -> np.ndarray:
        """(R,) G(r) with other lengths (K,) and Uiso, all over what they were, 1/A^2."""
        factors = np.array([a * b for i, a in enumerate(lengths) for b in lengths[i:]])
        distances = np.sqrt(self._squares @ factors)
        peaks = self._mesh.peaks(distances, self._weights, uiso * self._u_sums)
        density = self._density / np.prod(lengths**self._multiplicity)
        return self._response.pdf(peaks).sum(axis=0) + density * self._baseline

    def fit(self, g: np.ndarray, start: npt.ArrayLike) -> CellFit:
        """The lengths and the Uiso of least squares of what is left of g (R,).

        Args:
            start: (K,) lengths to start from, over what they were: within the width of a peak.

        Raises:
            ValueError: no such values within LENGTHS and DISPLACEMENTS were found.
        """
        ends = np.array([*[LENGTHS] * len(self.axes), np.log(DISPLACEMENTS)])
        x = np.array([*np.clip(start, *LENGTHS), 0.0])
        residual = self._residual(x, g)
        for _ in range(_MOST_STEPS):
            step = self._step(x, residual, g)
            while np.abs(step).max() > _CONVERGED:
                after = self._residual(np.clip(x + step, *ends.T), g)
                if np.square(after).sum() < np.square(residual).sum():
                    x, residual = np.clip(x + step, *ends.T), after
                    break
                step = step / 2
            else:
                break
        else:
            raise ValueError(f"no cell and displacements were found in {_MOST_STEPS} steps")
        if ((x <= ends[:, 0]) | (x >= ends[:, 1])).any():
            raise ValueError("no cell and displacements near those of the crystal fit")
        # The last digits may be those of the processor.
        x = x.round(_DIGITS)
        return CellFit(x[:-1], math.exp(x[-1]), g + self._residual(x, g))

    def _residual(self, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        return self.pdf(x[:-1], math.exp(x[-1])) - g

    def _step(self, x: np.ndarray, residual: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Of Gauss and Newton; sums not by BLAS, as these depend on the number of threads."""
        moved = [self._residual(x + step, g) for step in _STEP * np.eye(len(x))]
        jacobian = (np.stack(moved) - residual) / _STEP
        products = np.einsum("ir,jr->ij", jacobian, jacobian)
        return -np.linalg.solve(products, np.einsum("ir,r->i", jacobian, residual))


def _shells(
    structure: AtomicStructure,
    pairs: Sequence[SpeciesPair],
    column: np.ndarray,
    longest: float,
    axes: Sequence[Sequence[int]],
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of atoms up to a distance, those that stay equally far whatever the lengths as one.

    Args:
        column: (P,) sum to which each of the pairs of species belongs.
        longest: A.
        axes: of each of K lengths.

    Returns:
        (E, K (K + 1) / 2) parts of the squares of distances, A^2, by pair of lengths: those of
        different lengths count twice; and (E, columns) weights.
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(structure.lattice), axis=0)
    most = np.ceil(longest / heights).astype(int) + 1
    cells = np.indices(2 * most + 1).reshape(3, -1).T - most
    squares, weights = [], []
    for pair, place in zip(pairs, column.tolist(), strict=True):
        first, second = (structure.frac[kind.atoms] for kind in (pair.first, pair.second))
        vectors = (second[None] - first[:, None]).reshape(-1, 1, 3) + cells
        parts = _parts(vectors.reshape(-1, 3), structure.lattice, axes)
        whole = parts.sum(axis=1)
        parts = parts[(whole > 1e-3) & (whole < longest**2)]
        group = np.zeros(len(parts), dtype=np.int64)
        for part in np.rint(parts / _SAME).astype(np.int64).T:
            of_part, _ = group_keys(part)
            most_keys = np.int64(of_part.max(initial=0)) + 1
            group, first = group_keys(group * most_keys + of_part)
        squares.append(parts[first])
        of_pair = np.zeros((len(first), column.max() + 1))
        of_pair[:, place] = np.bincount(group) * pair.weight
        weights.append(of_pair)
    return np.concatenate(squares), np.concatenate(weights)


def _parts(vectors: np.ndarray, lattice: np.ndarray, axes: Sequence[Sequence[int]]) -> np.ndarray:
    """(n, K (K + 1) / 2) parts of the squared lengths of fractional vectors (n, 3), A^2."""
    along = [vectors[:, some] @ lattice[some] for some in axes]
    return np.stack(
        [
            (1 if i == j else 2) * (along[i] * along[j]).sum(axis=1)
            for i in range(len(along))
            for j in range(i, len(along))
        ],
        axis=1,
    )
