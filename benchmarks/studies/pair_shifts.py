"""What small displacements of a crystal's atoms change in G(r), order by order.

Atoms a distance d apart that come to be d + delta apart move a peak p(r; d) to p(r; d + delta), so
that G(r) changes by the sum of n <delta> dp/dd + n <delta^2> / 2 d2p/dd2 over the shells of n pairs
an atom each. docs/identifiability.md reads that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.pdf.peaks import longest_distance, peak_width
from pdfcalc.pdf.transform import pdf_from_peaks

_SAME = 1e-3
"""A by which distances of one shell differ at most."""
_STEP = 1e-3
"""A, of difference quotients."""


@dataclass(frozen=True, eq=False)
class PairShifts:
    """How the distances of a crystal of one element change, by shell.

    Args:
        distance: (S,) before, A.
        pairs: (S,) an atom.
        mean: (S,) change, A.
        square: (S,) mean square of the change, A^2.
        density: change of the number of atoms per volume, 1/A^3.
        u_sum: of the Uiso of two atoms, A^2.
    """

    distance: np.ndarray
    pairs: np.ndarray
    mean: np.ndarray
    square: np.ndarray
    density: float
    u_sum: float

    @classmethod
    def between(
        cls, before: AtomicStructure, after: AtomicStructure, parameters: PDFParameters
    ) -> PairShifts:
        """Of two structures of the same atoms, over all that peaks on the grid are of."""
        u_sum = 2 * float(before.uiso[0])
        longest = longest_distance(parameters.extended_grid, u_sum, parameters)
        heights = 1 / np.linalg.norm(np.linalg.inv(before.lattice), axis=0)
        most = np.ceil(longest / heights).astype(int) + 1
        apart = before.frac - before.frac[:, None]
        whole = np.rint(apart)
        first = (apart - whole) @ before.lattice
        second = (after.frac - after.frac[:, None] - whole) @ after.lattice
        sums = np.zeros((4, int(longest / _SAME) + 1))
        for image in np.indices(2 * most + 1).reshape(3, -1).T - most:
            d = np.linalg.norm(first + image @ before.lattice, axis=-1)
            chosen = (d > _SAME) & (d < longest)
            d = d[chosen]
            moved = np.linalg.norm((second + image @ after.lattice)[chosen], axis=-1) - d
            shell = (d / _SAME).astype(int)
            for place, values in enumerate((np.ones_like(d), d, moved, moved**2)):
                sums[place] += np.bincount(shell, values, sums.shape[1])
        count, *sums_of = sums[:, sums[0] > 0]
        distance, mean, square = (one / count for one in sums_of)
        density = after.number_density - before.number_density
        return cls(distance, count / len(apart), mean, square, density, u_sum)

    def change(self, parameters: PDFParameters) -> np.ndarray:
        """(2, R) what the first and the second order change in G(r), 1/A^2."""
        low, middle, high = (
            self._peaks(parameters, self.distance + step) for step in (-_STEP, 0.0, _STEP)
        )
        first = self.pairs * self.mean @ (high - low) / (2 * _STEP)
        second = 0.5 * self.pairs * self.square @ (high - 2 * middle + low) / _STEP**2
        density = np.array([self.density, 0.0])
        return pdf_from_peaks(np.stack([first, second]), density, parameters)

    def _peaks(self, parameters: PDFParameters, distance: np.ndarray) -> np.ndarray:
        """(S, grid) of one pair at each distance."""
        width = peak_width(distance, self.u_sum, parameters)[:, None]
        away = (parameters.extended_grid.r - distance[:, None]) / width
        return np.exp(-0.5 * away**2) / (math.sqrt(2 * math.pi) * width * distance[:, None])
