"""The lattice engine: pairs counted by displacement class, peaks summed by distance.

Exact for atoms on common sites. A change of a few sites is counted by the sites changed alone:
each one against the unchanged lattice, which looks the same from all like sites, and all of them
against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from pdfcalc.displacements import Occupied, Sites, find_sites
from pdfcalc.kernels.counts import count_around, count_change
from pdfcalc.parameters import PDFParameters
from pdfcalc.peaks import Mesh, Shells, longest_distance, peak_width
from pdfcalc.response import baseline_response, instrument_response, sampling_strides
from pdfcalc.scattering import scattering_power
from pdfcalc.species import SpeciesPair
from pdfcalc.structure import AtomicStructure

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
    mesh = Mesh(shells.distances, shells.sum(weights[used]), u_sums, grid.step, parameters)
    return mesh.peaks(slice(None), grid).sum(axis=0)


@dataclass(frozen=True, eq=False)
class Change:
    """What makes a variant of a lattice: sites emptied, and sites filled by one element."""

    removed: Occupied
    added: Occupied
    element: str
    uiso: float


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
        power = scattering_power(self.element, parameters)
        new_power = np.array([scattering_power(change.element, parameters) for change in changes])
        n_new = np.array([len(change.added.site) for change in changes])
        n_kept = self.n_atoms - np.array([len(change.removed.site) for change in changes])
        n_atoms = n_kept + n_new
        g = np.outer(n_atoms / self.sites.volume, baseline_response(parameters, points))
        scale = n_atoms / (n_kept * power + n_new * new_power) ** 2
        products = [np.full(len(changes), power**2), 2 * power * new_power, new_power**2]
        weighted = self._count(changes) * (scale * products).T[:, :, None]
        new_uiso = np.array([change.uiso for change in changes])
        u_sums, rows, weights = self._by_width(weighted, new_uiso, n_new > 0)
        used = weights.any(axis=1)
        shortest = self.sites.shortest[used].min()
        widths = peak_width(shortest, u_sums, parameters)
        strides = sampling_strides(parameters, widths).tolist()
        coarsest = instrument_response(parameters, points, strides[-1])
        longest = longest_distance(coarsest.grid, u_sums[-1], parameters)
        shells = Shells(self.sites.vectors[used], self.sites.lattice, longest)
        finest = strides[0] * parameters.rstep
        mesh = Mesh(shells.distances, shells.sum(weights[used]), u_sums, finest, parameters)
        # Peaks alike in width are summed together, the narrow ones on more samples.
        for stride, group in groupby(range(len(rows)), key=strides.__getitem__):
            columns = list(group)
            chosen = slice(columns[0], columns[-1] + 1)
            response = instrument_response(parameters, points, stride)
            peaks = mesh.peaks(chosen, response.grid)
            for row, seen in zip(rows[chosen].tolist(), response.pdf(peaks), strict=True):
                g[row] += seen
        return g

    def _by_width(
        self, weighted: np.ndarray, new_uiso: np.ndarray, has_new: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs gathered by the sum of Uiso: sums (K,), rising, variants (K,), weights (C, K).

        Args:
            weighted: (V, 3, C) as from `_count`.
            new_uiso: (V,) of the new atoms, A^2.
            has_new: (V,) whether there are any.
        """
        alike = new_uiso == self.uiso
        kept, mixed, new = weighted.transpose(1, 0, 2)
        kept = np.where(alike[:, None], kept + mixed + new, kept)
        others = np.flatnonzero(has_new & ~alike)
        own, foreign = np.full(len(new_uiso), self.uiso), new_uiso[others]
        u_sums = np.concatenate([2 * own, own[others] + foreign, 2 * foreign])
        rows = np.concatenate([np.arange(len(new_uiso)), others, others])
        weights = np.concatenate([kept, mixed[others], new[others]])
        order = np.argsort(u_sums, kind="stable")
        return u_sums[order], rows[order], np.ascontiguousarray(weights[order].T)

    def _count(self, changes: Sequence[Change]) -> np.ndarray:
        """(V, 3, C) pairs of host atoms, of host atoms with new ones, and of new ones."""
        class_of, n_classes = self.sites.class_of, len(self.sites.vectors)
        around = count_around(class_of, self.n_filled, n_classes)
        counts = np.zeros((len(changes), 3, n_classes), dtype=np.int64)
        counts[:, 0] = around[: self.n_filled].sum(axis=0) * (self.n_atoms // self.n_filled)
        for change, of_change in zip(changes, counts, strict=True):
            gone, added = change.removed, change.added
            sites = (gone.site, gone.cell, added.site, added.cell)
            count_change(class_of, self.sites.repeats, around, *sites, of_change)
        return counts
