"""Coarse samples of the summed peaks give the G(r) that the calculation grid gives."""

from __future__ import annotations

import numpy as np
import pytest

from pdfcalc import PDFParameters
from pdfcalc.pdf.peaks import longest_distance, peak_width, sum_peaks
from pdfcalc.pdf.response import baseline_response, instrument_response, sampling_strides
from pdfcalc.pdf.transform import pdf_from_peaks


@pytest.mark.parametrize("qmax", [18.0, 23.6, 35.0, None])
@pytest.mark.parametrize("u_sum", [0.0008, 0.004, 0.01, 0.06, 0.4])
def test_coarse_samples_hold_all_that_matters(u_sum, qmax):
    parameters = PDFParameters(1.5, 20.0, 0.01, 0.6, qmax, 0.03, 0.01)
    rng = np.random.default_rng(0)
    points = tuple(range(0, len(parameters.r), 7))
    width = peak_width(2.0, u_sum, parameters)
    (stride,) = sampling_strides(parameters, width[None])
    assert (stride > 1) == (qmax is not None)
    response = instrument_response(parameters, points, int(stride))
    # Peaks on both sides of the end of the grid, where they are cut off, but none across r = 0.
    cutoff = longest_distance(response.grid, u_sum, parameters)
    distances = rng.uniform(max(2.0, 6 * width), cutoff, 400)
    weights = rng.uniform(0, 1, (400, 1)) * distances[:, None]
    sums, fine = np.array([u_sum]), parameters.extended_grid
    peaks, coarse = (
        sum_peaks(distances, weights, sums, grid, parameters) for grid in (fine, response.grid)
    )
    expected = pdf_from_peaks(peaks, np.zeros(1), parameters)[0, list(points)]
    found = response.pdf(coarse)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_baseline_is_that_of_the_calculation_grid():
    parameters = PDFParameters(1.5, 20.0, 0.01, 0.6, 23.6, 0.03, 0.01)
    empty = np.zeros((1, parameters.extended_grid.size))
    expected = pdf_from_peaks(empty, np.array([0.07]), parameters)[0, [3, 800]]
    np.testing.assert_allclose(0.07 * baseline_response(parameters, (3, 800)), expected, rtol=1e-12)
