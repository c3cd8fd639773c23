"""The lattice engine: pairs counted by displacement class, peaks summed by distance.

Exact for atoms on common sites. A change of a few sites is counted by the sites changed alone:
each one against the unchanged lattice, which looks the same from all like sites, and all of them
against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pdfcalc.displacements import Occupied, Sites, find_sites
from pdfcalc.parameters import Grid, PDFParameters
from pdfcalc.peaks import image_distances, longest_distance, sum_peaks
from pdfcalc.response import instrument_response
from pdfcalc.scattering import scattering_power
from pdfcalc.species import SpeciesPair
from pdfcalc.structure import AtomicStructure


def lattice_peaks(
    structure: AtomicStructure, pairs: Sequence[SpeciesPair], parameters: PDFParameters
) -> np.ndarray:
    """(n,) sum of weight / d * Gaussian over the pairs of atoms, on the extended grid."""
    if not structure.periodic:
        raise ValueError("engine 'lattice' takes periodic structures only: use engine='pairs'")
    sites, all_atoms = find_sites(structure.frac, structure.lattice)
    sums = _PeakSums(sites, 1, parameters.qbroad)
    for pair in pairs:
        counts = sites.count(all_atoms[pair.first.atoms], all_atoms[pair.second.atoms])
        sums.add(0, pair.u_sum, pair.weight * counts)
    return sums.peaks(parameters.extended_grid)[0]


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

    def pdfs(
        self, changes: Sequence[Change], parameters: PDFParameters, points: Sequence[int]
    ) -> np.ndarray:
        """G(r) of each change made to the crystal.

        Args:
            points: indices of the wanted points in `parameters.r`.

        Returns:
            (V, len(points)), 1/A^2.
        """
        n_cells = int(np.prod(self.sites.repeats))
        power = scattering_power(self.element, parameters)
        # seen_from[s] counts the filled sites by class as site s sees them.
        around = self.sites.class_of[:, : self.n_filled].reshape(len(self.sites.frac), -1)
        n_classes = len(self.sites.vectors)
        seen_from = np.stack([np.bincount(row, minlength=n_classes) for row in around])
        undisturbed = seen_from[: self.n_filled].sum(axis=0) * n_cells
        sums = _PeakSums(self.sites, len(changes), parameters.qbroad)
        n_atoms, total_power = np.empty(len(changes)), np.empty(len(changes))
        for row, change in enumerate(changes):
            gone, new = change.removed, change.added
            new_power = scattering_power(change.element, parameters)
            kept = undisturbed - 2 * seen_from[gone.site].sum(axis=0) + self.sites.count(gone, gone)
            mixed = seen_from[new.site].sum(axis=0) - self.sites.count(gone, new)
            sums.add(row, 2 * self.uiso, power**2 * kept)
            sums.add(row, self.uiso + change.uiso, 2 * power * new_power * mixed)
            sums.add(row, 2 * change.uiso, new_power**2 * self.sites.count(new, new))
            n_kept = self.n_filled * n_cells - len(gone.site)
            n_atoms[row] = n_kept + len(new.site)
            total_power[row] = n_kept * power + len(new.site) * new_power
        narrowest = 2 * min(self.uiso, *(change.uiso for change in changes))
        response = instrument_response(parameters, tuple(points), narrowest)
        peaks = sums.peaks(response.grid) * (n_atoms / total_power**2)[:, None]
        return response.pdf(peaks, n_atoms / abs(np.linalg.det(self.sites.lattice)))


class _PeakSums:
    """Peaks of several PDFs, gathered by the sum of Uiso on which their width depends."""

    def __init__(self, sites: Sites, n_rows: int, qbroad: float) -> None:
        self._sites, self._n_rows, self._qbroad = sites, n_rows, qbroad
        self._weights: dict[float, np.ndarray] = {}

    def add(self, row: int, u_sum: float, weights: np.ndarray) -> None:
        """Add weights (C,), one a class of displacements, to the pairs of PDF `row`."""
        if not weights.any():
            return
        shape = (self._n_rows, len(weights))
        self._weights.setdefault(u_sum, np.zeros(shape))[row] += weights

    def peaks(self, grid: Grid) -> np.ndarray:
        """(n_rows, n) summed peaks on the grid."""
        total = np.zeros((self._n_rows, grid.size))
        cutoff = longest_distance(grid, max(self._weights), self._qbroad)
        blocks = list(image_distances(self._sites.vectors, self._sites.lattice, cutoff))
        member = np.concatenate([index for index, _ in blocks])
        distance = np.concatenate([length for _, length in blocks])
        # Distances that agree to 1e-9 A are one shell; rounding joins what symmetry makes equal.
        shells, shell = np.unique(np.rint(distance * 1e9), return_inverse=True)
        for u_sum, weights in self._weights.items():
            rows = np.flatnonzero(weights.any(axis=1))
            by_shell = np.stack([np.bincount(shell, weights=weights[row, member]) for row in rows])
            used = np.flatnonzero(by_shell.any(axis=0))
            total[rows] += sum_peaks(
                shells[used] * 1e-9, by_shell[:, used], u_sum, self._qbroad, grid
            )
        return total
