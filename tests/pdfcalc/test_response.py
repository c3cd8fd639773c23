"""Coarse samples of the summed peaks give the G(r) that the calculation grid gives."""

from __future__ import annotations

import numpy as np
import pytest

from pdfcalc import PDFParameters
from pdfcalc.peaks import longest_distance, sum_peaks
from pdfcalc.response import instrument_response
from pdfcalc.transform import pdf_from_peaks


@pytest.mark.parametrize("qmax", [18.0, 23.6, 35.0, None])
@pytest.mark.parametrize("u_sum", [0.0008, 0.004, 0.01, 0.06])
def test_coarse_samples_hold_all_that_matters(u_sum, qmax):
    parameters = PDFParameters(1.5, 20.0, 0.01, 0.6, qmax, 0.03, 0.01)
    rng = np.random.default_rng(0)
    points = tuple(range(0, len(parameters.r), 7))
    response = instrument_response(parameters, points, u_sum)
    assert (response.grid.step > 0.015) == (qmax is not None)
    # Peaks on both sides of the end of the grid, where they are cut off.
    cutoff = longest_distance(response.grid, u_sum, 0.01)
    distances = rng.uniform(2.0, cutoff, 400)
    weights = rng.uniform(0, 1, (1, 400)) * distances
    fine = parameters.extended_grid
    expected = pdf_from_peaks(
        sum_peaks(distances, weights, u_sum, 0.01, fine), np.array([0.05]), parameters
    )[0, list(points)]
    coarse = sum_peaks(distances, weights, u_sum, 0.01, response.grid)
    found = response.pdf(coarse, np.array([0.05]))[0]
    np.testing.assert_allclose(found, expected, atol=3e-6 * np.abs(expected).max())
