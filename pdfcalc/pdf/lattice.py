"""The lattice engine: pairs counted by displacement class, peaks summed by distance.

Exact for atoms on common sites. A change of a few sites is counted by the sites changed alone:
each one against the unchanged lattice, which looks the same from all like sites, and all of them
against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pdfcalc.crystals.displacements import NOWHERE, Occupied, Sites, find_sites
from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.kernels.counts import count_around, count_change
from pdfcalc.pdf.class_response import ClassResponse
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.pdf.peaks import Shells, longest_distance, sum_peaks
from pdfcalc.pdf.response import baseline_response
from pdfcalc.pdf.species import SpeciesPair

_BLOCK = 64
"""Changes that are worked on together; it bounds the memory."""


def lattice_peaks(
    structure: AtomicStructure, pairs: Sequence[SpeciesPair], parameters: PDFParameters
) -> np.ndarray:
    """(n,) sum of weight / d * Gaussian over the pairs of atoms, on the extended grid."""
    if not structure.periodic:
        raise ValueError("engine 'lattice' takes periodic structures only: use engine='pairs'")
    sites, all_atoms = find_sites(structure.frac, structure.lattice)
    u_sums, column = np.unique([pair.u_sum for pair in pairs], return_inverse=True)
    weights = np.zeros((len(sites.vectors), len(u_sums)))
    for pair, place in zip(pairs, column, strict=True):
        count = sites.count(all_atoms[pair.first.atoms], all_atoms[pair.second.atoms])
        weights[:, place] += pair.weight * count
    used = weights.any(axis=1)
    grid = parameters.extended_grid
    longest = longest_distance(grid, u_sums[-1], parameters)
    shells = Shells(sites.vectors[used], sites.lattice, longest)
    of_shells = shells.sum(weights[used])
    return sum_peaks(shells.distances, of_shells, u_sums, grid, parameters).sum(axis=0)


@dataclass(frozen=True, eq=False)
class Change:
    """What makes a variant of a lattice: sites emptied, and sites filled.

    Args:
        removed: filled sites that are emptied.
        added: sites, empty or emptied, that are filled by another element.
        element: that element.
        uiso: mean-square displacement of its atoms, A^2.
        own: empty sites that are filled by the crystal's own element.
    """

    removed: Occupied
    added: Occupied
    element: str
    uiso: float
    own: Occupied = NOWHERE

    @property
    def n_own(self) -> int:
        """Atoms of the crystal's own element that come, less those that go."""
        return len(self.own.site) - len(self.removed.site)


@dataclass(frozen=True, eq=False)
class WeightedPairs:
    """The pairs of V variants, over N <b>^2, in K sums.

    Args:
        density: (V,) atoms per A^3.
        u_sums: (K,) rising sum of the two atoms' Uiso in each sum, A^2.
        variants: (K,) variant of each sum.
        weights: (C, K) by class of displacement.
    """

    density: np.ndarray
    u_sums: np.ndarray
    variants: np.ndarray
    weights: np.ndarray

    def pdfs(self, response: ClassResponse, baseline: np.ndarray) -> np.ndarray:
        """(V, R) G(r) of each variant, 1/A^2."""
        g = np.outer(self.density, baseline)
        added = response.pdf(self.weights, self.u_sums)
        for variant, one in zip(self.variants.tolist(), added, strict=True):
            g[variant] += one
        return g


@dataclass(frozen=True, eq=False)
class LatticeCrystal:
    """A supercell of one element, of which many variants are wanted.

    Args:
        sites: all sites that may ever hold an atom; the first `n_filled` are filled.
        element: symbol of the element that fills them.
        uiso: its mean-square displacement, A^2.
    """

    sites: Sites
    n_filled: int
    element: str
    uiso: float

    @property
    def n_atoms(self) -> int:
        """Atoms of the unchanged crystal."""
        return self.n_filled * int(np.prod(self.sites.repeats))

    def kept(self, change: Change) -> Occupied:
        """The atoms of the unchanged crystal that stay."""
        stays = np.ones((self.n_filled, *self.sites.repeats), dtype=bool)
        stays[(change.removed.site, *change.removed.cell.T)] = False
        site, *cell = np.nonzero(stays)
        return Occupied(site, np.stack(cell, axis=1))

    def changed(self, change: Change) -> AtomicStructure:
        """The atoms of the supercell with a change made to it: kept ones, own ones, added ones."""
        filled = [self.kept(change), change.own, change.added]
        cells = np.concatenate([some.cell for some in filled])
        frac = self.sites.frac[np.concatenate([some.site for some in filled])]
        n_own, n_added = self.n_atoms + change.n_own, len(change.added.site)
        return AtomicStructure(
            self.sites.lattice,
            (frac + cells) / self.sites.repeats,
            [self.element] * n_own + [change.element] * n_added,
            [self.uiso] * n_own + [change.uiso] * n_added,
        )

    def pdfs(
        self, changes: Sequence[Change], parameters: PDFParameters, points: Sequence[int]
    ) -> np.ndarray:
        """G(r) of each change made to the crystal.

        Args:
            points: indices of the wanted points in `parameters.r`.

        Returns:
            (V, len(points)), 1/A^2.
        """
        blocks = [changes[i : i + _BLOCK] for i in range(0, len(changes), _BLOCK)]
        return np.concatenate([self._pdfs(block, parameters, tuple(points)) for block in blocks])

    def _pdfs(
        self, changes: Sequence[Change], parameters: PDFParameters, points: tuple[int, ...]
    ) -> np.ndarray:
        pairs = self.pairs(changes, parameters)
        used = np.any(pairs.weights, axis=1)
        u_sums = pairs.u_sums[0], pairs.u_sums[-1]
        response = ClassResponse(self.sites, used, u_sums, parameters, points)
        return pairs.pdfs(response, baseline_response(parameters, points))

    def pairs(self, changes: Sequence[Change], parameters: PDFParameters) -> WeightedPairs:
        """The pairs of V variants by class of displacement and sum of Uiso."""
        power = parameters.scattering_power(self.element)
        new_power = np.array([parameters.scattering_power(change.element) for change in changes])
        n_new = np.array([len(change.added.site) for change in changes])
        n_own = self.n_atoms + np.array([change.n_own for change in changes])
        n_atoms = n_own + n_new
        scale = n_atoms / (n_own * power + n_new * new_power) ** 2
        products = [np.full(len(changes), power**2), 2 * power * new_power, new_power**2]
        weighted = self._count(changes) * (scale * products).T[:, :, None]
        new_uiso = np.array([change.uiso for change in changes])
        by_width = self._by_width(weighted, new_uiso, n_new > 0)
        return WeightedPairs(n_atoms / self.sites.volume, *by_width)

    def _by_width(
        self, weighted: np.ndarray, new_uiso: np.ndarray, has_new: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs gathered by the sum of Uiso: sums (K,), rising, variants (K,), weights (C, K).

        Args:
            weighted: (V, 3, C) as from `_count`.
            new_uiso: (V,) of the new atoms, A^2.
            has_new: (V,) whether there are any.
        """
        kept, mixed, new = weighted.transpose(1, 0, 2)
        others = np.flatnonzero(has_new)
        own, foreign = np.full(len(new_uiso), self.uiso), new_uiso[others]
        u_sums = np.concatenate([2 * own, own[others] + foreign, 2 * foreign])
        rows = np.concatenate([np.arange(len(new_uiso)), others, others])
        weights = np.concatenate([kept, mixed[others], new[others]])
        order = np.argsort(u_sums, kind="stable")
        return u_sums[order], rows[order], np.ascontiguousarray(weights[order].T)

    def _count(self, changes: Sequence[Change]) -> np.ndarray:
        """(V, 3, C) pairs of own atoms, of own atoms with new ones, and of new ones."""
        class_of, n_classes = self.sites.class_of, len(self.sites.vectors)
        around = self._around
        counts = np.zeros((len(changes), 3, n_classes), dtype=np.int64)
        counts[:, 0] = around[: self.n_filled].sum(axis=0) * (self.n_atoms // self.n_filled)
        for change, of_change in zip(changes, counts, strict=True):
            gone, own, new = change.removed, change.own, change.added
            sites = (gone.site, gone.cell, own.site, own.cell, new.site, new.cell)
            count_change(class_of, self.sites.repeats, around, *sites, of_change)
        return counts

    @cached_property
    def _around(self) -> np.ndarray:
        """(S, C) filled sites of the unchanged crystal by class, as each site sees them."""
        return count_around(self.sites.class_of, self.n_filled, len(self.sites.vectors))


class PreparedCrystal:
    """A crystal prepared for any number of its variants, computed in any company.

    G(r) of a variant is the same to the last bit whichever others are computed with it.

    Args:
        points: indices of the wanted points in `parameters.r`.
        u_sums: lowest and highest sum of the Uiso of two atoms that may occur, A^2.
        shortest: no pairs of a variant are closer than this, A.
    """

    def __init__(
        self,
        crystal: LatticeCrystal,
        parameters: PDFParameters,
        points: Sequence[int],
        u_sums: tuple[float, float],
        shortest: float = 0.0,
    ) -> None:
        self.crystal, self._parameters = crystal, parameters
        used = crystal.sites.shortest >= shortest
        self._response = ClassResponse(crystal.sites, used, u_sums, parameters, points)
        self._baseline = baseline_response(parameters, tuple(points))

    def pdfs(self, changes: Sequence[Change]) -> np.ndarray:
        """(V, R) G(r) of each change made to the crystal, 1/A^2.

        Raises:
            ValueError: the Uiso of a change is not between those prepared for.
        """
        low, high = (0.5 * u_sum for u_sum in self._response.u_sums)
        for change in changes:
            if not low * (1 - 1e-9) <= change.uiso <= high * (1 + 1e-9):
                raise ValueError(
                    f"uiso = {change.uiso:g}: the crystal was prepared for {low:g} to {high:g} A^2"
                )
        blocks = [changes[i : i + _BLOCK] for i in range(0, len(changes), _BLOCK)]
        pairs = (self.crystal.pairs(block, self._parameters) for block in blocks)
        return np.concatenate([some.pdfs(self._response, self._baseline) for some in pairs])
