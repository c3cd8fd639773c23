"""From summed peaks to G(r) as an instrument sees it."""

from __future__ import annotations

import math

import numpy as np

from pdfcalc.pdf.parameters import PDFParameters


def pdf_from_peaks(
    peaks: np.ndarray, number_density: np.ndarray, parameters: PDFParameters
) -> np.ndarray:
    """G(r) = peaks - 4 pi rho0 r, cut to [qmin, qmax) in Q, times the envelope.

    The formula and its discretisation are those of PDFCalculator in diffpy.srreal
    (Juhas et al., Acta Cryst. A71 (2015) 562, DOI 10.1107/S2053273315014473).

    Args:
        peaks: (V, n) on `parameters.extended_grid`, normalised by N <b>^2, 1/A^2.
        number_density: (V,) atoms per A^3.

    Returns:
        (V, n_r) on `parameters.r`, 1/A^2.
    """
    g = _without_baseline(peaks, number_density, parameters)
    if parameters.qmin > 0 or parameters.qmax is not None:
        g = _band(g, parameters)
    return _as_seen(g, parameters)


def pdf_from_partials(
    peaks: np.ndarray, number_density: np.ndarray, parameters: PDFParameters, weights: np.ndarray
) -> np.ndarray:
    """G(r) of parts that are weighted in Q before they are added.

    Args:
        peaks: (P, n) of each part, as `pdf_from_peaks` takes them.
        number_density: (P,) of which the baseline of each part is made, atoms per A^3.
        weights: (P, m) of each part at the m points of `transform_q`.

    Returns:
        (n_r,) on `parameters.r`, 1/A^2.
    """
    g = _without_baseline(peaks, number_density, parameters)
    return _as_seen(_band(g, parameters, weights), parameters)[0]


def transform_q(parameters: PDFParameters) -> np.ndarray:
    """(m,) Q of each sine of the transform, and 0 before them, 1/A."""
    return _q(_padded(parameters.extended_grid.size), parameters)


def _without_baseline(
    peaks: np.ndarray, number_density: np.ndarray, parameters: PDFParameters
) -> np.ndarray:
    r = parameters.extended_grid.r
    return peaks - 4 * math.pi * np.asarray(number_density)[:, None] * r


def _as_seen(g: np.ndarray, parameters: PDFParameters) -> np.ndarray:
    """(V, n_r) on `parameters.r`, under the envelope, of (V, n) on the extended grid."""
    g *= envelope(parameters.extended_grid.r, parameters)
    first = round(parameters.r[0] / parameters.rstep) if len(parameters.r) else 0
    return g[:, first : first + len(parameters.r)]


def envelope(r: np.ndarray, parameters: PDFParameters) -> np.ndarray:
    """What multiplies the transformed G(r): scale, resolution, shape of the particle, cut.

    A sphere of diameter D leaves 1 - 1.5 r / D + 0.5 (r / D)^3 of the pairs at distance r
    (Howell et al., Phys. Rev. B 73 (2006) 094107, DOI 10.1103/PhysRevB.73.094107).

    Args:
        r: (n,) A.

    Returns:
        (n,), without unit.
    """
    factor = parameters.scale * np.exp(-0.5 * (parameters.qdamp * r) ** 2)
    if parameters.spdiameter is not None:
        x = np.minimum(r / parameters.spdiameter, 1.0)
        factor *= 1 - 1.5 * x + 0.5 * x**3
    if parameters.stepcut is not None:
        factor[r > parameters.stepcut] = 0.0
    return factor


def band_kernel(
    rows: np.ndarray, columns: np.ndarray, parameters: PDFParameters, smoothing: np.ndarray
) -> np.ndarray:
    """What points (n,) of the extended grid add to others (m,) in [qmin, qmax), (n, m).

    Args:
        smoothing: (2 k + 1,) symmetric weights that each of the points stands for around it.
    """
    padded = _padded(parameters.extended_grid.size)
    half = len(smoothing) // 2
    around = np.zeros(2 * padded)
    around[np.arange(-half, half + 1)] = smoothing
    spectrum = np.fft.fft(around).real[:padded] * _in_band(padded, parameters)
    cosines = np.fft.fft(spectrum, 2 * padded).real / padded
    return cosines[abs(rows[:, None] - columns)] - cosines[rows[:, None] + columns]


def _band(
    g: np.ndarray, parameters: PDFParameters, weights: np.ndarray | None = None
) -> np.ndarray:
    """The part of odd functions g (V, n) on a grid from 0 that lies in [qmin, qmax).

    With weights (V, m) at the points of `transform_q`, of their weighted sum, (1, n).
    """
    from scipy.fft import dst, idst

    size = g.shape[1]
    padded = _padded(size)
    # DST-I leaves out the two ends, where an odd function is zero.
    f = dst(g[:, 1:], type=1, n=padded - 1, axis=1)
    f *= _in_band(padded, parameters)[1:]
    if weights is not None:
        f = (f * weights[:, 1:]).sum(axis=0, keepdims=True)
    banded = np.zeros((len(f), size))
    banded[:, 1:] = idst(f, type=1, axis=1)[:, : size - 1]
    return banded


def _padded(size: int) -> int:
    """Points to which diffpy.srreal pads a grid for its transform."""
    return 1 << (size - 1).bit_length()


def _in_band(padded: int, parameters: PDFParameters) -> np.ndarray:
    """(padded,) whether the Q of each sine of the transform lies in [qmin, qmax); not for Q = 0."""
    q = _q(padded, parameters)
    return (q > 0) & (q >= parameters.qmin) & (q < (parameters.qmax or math.inf))


def _q(padded: int, parameters: PDFParameters) -> np.ndarray:
    """(padded,) 1/A, from 0."""
    return np.arange(padded) * math.pi / (padded * parameters.rstep)
