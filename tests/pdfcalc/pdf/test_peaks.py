"""Peaks summed through the mesh are those summed one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfcalc import PDFParameters
from pdfcalc.kernels.counts import group_keys
from pdfcalc.pdf.parameters import Grid
from pdfcalc.pdf.peaks import peak_width, sum_peaks


def _one_by_one(distances, weights, u_sum, grid, parameters):
    """The sum of weight / d * Gaussian(r - d), as the formula says it."""
    total = np.zeros(grid.size)
    for distance, weight in zip(distances, weights, strict=True):
        variance = u_sum * (
            1
            - parameters.delta1 / distance
            - parameters.delta2 / distance**2
            + (parameters.qbroad * distance) ** 2
        )
        height = weight / distance / math.sqrt(2 * math.pi * variance)
        total += height * np.exp(-0.5 * (grid.r - distance) ** 2 / variance)
    return total


@settings(max_examples=30)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.002, 0.01, 0.2]),
    st.sampled_from([0.01, 0.03, 0.05, 0.12]),
    st.sampled_from([{}, {"delta1": 0.6}, {"delta2": 1.5}, {"qbroad": 0.05}]),
)
def test_sums_are_those_of_the_formula(seed, u_sum, step, further):
    parameters = PDFParameters(rmax=12.0, **further)
    rng = np.random.default_rng(seed)
    distances, weights = rng.uniform(1.9, 13.0, 30), rng.uniform(-1, 2, (30, 2))
    grid = Grid(step, math.ceil(12 / step))
    sums = np.array([u_sum, 1.7 * u_sum])
    for column, summed in enumerate(sum_peaks(distances, weights, sums, grid, parameters)):
        expected = _one_by_one(distances, weights[:, column], sums[column], grid, parameters)
        np.testing.assert_allclose(summed, expected, atol=2e-5 * np.abs(expected).max())


def test_correlated_motion_that_leaves_no_width_is_refused():
    with pytest.raises(ValueError, match=r"delta2 = 9 leave no width to the peak of atoms 2\.500"):
        peak_width(np.array([5.0, 2.5]), 0.01, PDFParameters(delta2=9.0))


@given(st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 3)))
def test_keys_are_grouped_as_numpy_does_it(values):
    keys = np.array(values, dtype=np.int64)
    group, first = group_keys(keys)
    assert len(first) == len(set(values))
    np.testing.assert_array_equal(keys[first][group], keys)
