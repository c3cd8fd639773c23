"""What an instrument makes of summed peaks at a few wanted points of r, as one matrix.

The summed peaks hold nothing beyond the Q at which the narrowest of them has died away, and the
instrument passes nothing beyond qmax. So samples taken at the sum of the two, several steps of
the calculation grid apart, hold all that matters (the sampling theorem), and G(r) is a sum over
samples instead of over the grid. Only at the grid's end, where the peaks are cut off, does the grid
itself count; there its points are interpolated from the samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pdfcalc.kernels.mesh import weighted_rows
from pdfcalc.pdf.parameters import Grid, PDFParameters
from pdfcalc.pdf.transform import band_kernel, envelope, pdf_from_peaks

_NEGLIGIBLE = 1e-6
"""What may be left of a peak at the Q from which samples confuse it with Q < qmax."""
_GUARD = 2.6
"""Least 2 pi / step over the highest Q that matters; 2 would leave no room to interpolate."""
_NEIGHBOURS = 20
"""Samples on each side from which a point of the calculation grid is interpolated."""
_TAPER = 14.5
"""Kaiser's beta for which so many neighbours leave 1e-7 (Kaiser 1974)."""


@dataclass(frozen=True, eq=False)
class Response:
    """A linear map from summed peaks on a grid (M points) to G(r) at R points, (M, R).

    The peaks are normalised by N <b>^2.
    """

    grid: Grid
    matrix: np.ndarray

    def pdf(self, peaks: np.ndarray) -> np.ndarray:
        """(V, R) what peaks (V, M) add to G(r), in single precision, 1/A^2.

        A row is the same to the last bit whatever the others are.
        """
        return weighted_rows(peaks.astype(np.float32), self.matrix)


def sampling_strides(parameters: PDFParameters, widths: np.ndarray) -> np.ndarray:
    """Steps of the calculation grid between samples of peaks no narrower than widths, A.

    Powers of two, so that there are few, each of which has a matrix of its own.
    """
    if parameters.qmax is None:
        return np.ones(len(widths), dtype=int)
    gone = math.sqrt(-2 * math.log(_NEGLIGIBLE)) / widths
    highest = np.minimum(parameters.qmax, gone)
    steps = 2 * math.pi / np.maximum(_GUARD * highest, highest + gone)
    return 2 ** np.floor(np.log2(np.maximum(steps / parameters.rstep, 1))).astype(int)


@lru_cache(maxsize=4)
def baseline_response(parameters: PDFParameters, points: tuple[int, ...]) -> np.ndarray:
    """(R,) G(r) at the given indices of `parameters.r` of one atom per A^3 without peaks."""
    no_peaks = np.zeros((1, parameters.extended_grid.size))
    return pdf_from_peaks(no_peaks, np.ones(1), parameters)[0, list(points)]


@lru_cache(maxsize=32)
def instrument_response(
    parameters: PDFParameters, points: tuple[int, ...], stride: int
) -> Response:
    """The response at the given indices of `parameters.r` to samples `stride` grid steps apart.

    Raises:
        ValueError: form factors that depend on Q, so that pairs of different elements have
            different responses.
    """
    if parameters.form_factors != "constant":
        raise ValueError(
            f"form_factors = {parameters.form_factors!r}: prepared crystals and fits of defects "
            "take 'constant' only; calculate_pdf knows both"
        )
    fine = parameters.extended_grid
    chosen = np.rint(parameters.r[list(points)] / fine.step).astype(int)
    size = (fine.size - 1) // stride + 1 + _NEIGHBOURS
    inner = max(0, size - 2 * _NEIGHBOURS)
    reach = _NEIGHBOURS * stride
    matrix = np.empty((size, len(chosen)))
    smoothing = _interpolation(np.arange(-reach, reach + 1) / stride)
    matrix[:inner] = band_kernel(np.arange(inner) * stride, chosen, parameters, smoothing)
    end = np.arange(max(0, inner * stride - reach), fine.size)
    weights = _interpolation(end / stride - np.arange(inner, size)[:, None])
    matrix[inner:] = weights @ band_kernel(end, chosen, parameters, np.ones(1))
    matrix *= envelope(parameters.r[list(points)], parameters)
    return Response(Grid(stride * fine.step, size), matrix.astype(np.float32))


def _interpolation(away: np.ndarray) -> np.ndarray:
    """Weight of a sample in a point that is `away` samples from it: sinc under Kaiser's window."""
    window = np.sqrt(np.maximum(0, 1 - (away / _NEIGHBOURS) ** 2))
    return np.sinc(away) * np.i0(_TAPER * window) / np.i0(_TAPER) * (window > 0)
