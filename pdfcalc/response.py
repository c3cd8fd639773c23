"""What an instrument makes of summed peaks at a few wanted points of r, as one matrix.

Peaks are wider than the calculation grid is fine, and the instrument sees nothing beyond qmax. So
samples of the summed peaks several steps apart hold all that matters: interpolated onto the
calculation grid and transformed there, they give the same G(r). Both steps are linear and the
same for all crystals, so that they are done once, for each sample by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pdfcalc.parameters import Grid, PDFParameters
from pdfcalc.transform import pdf_from_peaks

_NEGLIGIBLE = 1e-8
"""What may be left of a peak at the Q from which coarse samples confuse it with Q < qmax."""
_NEIGHBOURS = 16
"""Samples from which a point of the calculation grid is interpolated."""
_SMOOTH = 1.3
"""Q times the step of samples up to which so many neighbours interpolate to a part in a million."""


@dataclass(frozen=True, eq=False)
class Response:
    """A linear map from summed peaks on a grid (M points) to G(r) at R points."""

    grid: Grid
    matrix: np.ndarray
    baseline: np.ndarray

    def pdf(self, peaks: np.ndarray, number_density: np.ndarray) -> np.ndarray:
        """(V, R) G(r) in 1/A^2, of peaks (V, M) as `pdf_from_peaks` takes them."""
        return peaks @ self.matrix + np.outer(number_density, self.baseline)


def instrument_response(
    parameters: PDFParameters, points: tuple[int, ...], narrowest: float
) -> Response:
    """The response at the given indices of `parameters.r`.

    Args:
        narrowest: least sum of Uiso of any pair of atoms, A^2.
    """
    stride = 1
    if parameters.qmax is not None:
        # Samples h apart confuse Q with 2 pi / h - Q; there the narrowest peak must be gone.
        gone = math.sqrt(-2 * math.log(_NEGLIGIBLE) / narrowest)
        step = min(2 * math.pi / (parameters.qmax + gone), _SMOOTH / parameters.qmax)
        stride = int(step / parameters.rstep)
    return _response(parameters, points, max(1, stride))


@lru_cache(maxsize=8)
def _response(parameters: PDFParameters, points: tuple[int, ...], stride: int) -> Response:
    fine = parameters.extended_grid
    # Samples reach past the end of the grid, where the summed peaks are cut off, so that every
    # point is interpolated from both sides; below r = 0 there is nothing.
    size = (fine.size - 1) // stride + 1 + _NEIGHBOURS // 2
    weights = _interpolation(fine.size, stride, size)
    chosen = list(points)
    matrix = pdf_from_peaks(weights, np.zeros(size), parameters)[:, chosen]
    baseline = pdf_from_peaks(np.zeros((1, fine.size)), np.ones(1), parameters)[0, chosen]
    return Response(Grid(stride * fine.step, size), np.ascontiguousarray(matrix), baseline)


def _interpolation(n_fine: int, stride: int, n_coarse: int) -> np.ndarray:
    """(n_coarse, n_fine) Lagrange's weight of each sample in each point of the fine grid."""
    position = np.arange(n_fine) / stride
    offset = np.arange(_NEIGHBOURS) - (_NEIGHBOURS // 2 - 1)
    below = np.floor(position).astype(int)
    weights = np.zeros((n_coarse, n_fine))
    for here in offset:
        others = offset[offset != here]
        share = ((position - below)[:, None] - others) / (here - others)
        inside = below + here >= 0
        weights[(below + here)[inside], np.flatnonzero(inside)] = share.prod(axis=1)[inside]
    return weights
