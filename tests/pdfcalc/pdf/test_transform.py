"""What multiplies G(r), and the parameters of it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf

BASE = PDFParameters(0.0, 10.0, 0.02, 0.6, 23.6, 0.03, 0.01)
COPPER = AtomicStructure(
    3.615 * np.eye(3),
    [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    ["Cu"] * 4,
    [0.0065] * 4,
)
R, G = calculate_pdf(COPPER, BASE)


@settings(max_examples=15)
@given(
    st.floats(0, 5),
    st.none() | st.floats(0.1, 30),
    st.none() | st.floats(0.1, 30),
)
def test_envelope_is_the_product_of_its_formulas(scale, diameter, cut):
    changed = dataclasses.replace(BASE, scale=scale, spdiameter=diameter, stepcut=cut)
    _, g = calculate_pdf(COPPER, changed)
    expected = []
    for r, unchanged in zip(R, G, strict=True):
        value = scale * unchanged
        if diameter is not None:
            x = r / diameter
            value *= 1 - 1.5 * x + 0.5 * x**3 if r < diameter else 0.0
        expected.append(value if cut is None or r <= cut else 0.0)
    np.testing.assert_allclose(g, expected, rtol=1e-9, atol=1e-12)


def test_a_cut_leaves_zeros_beyond_it_and_the_rest_alone():
    _, g = calculate_pdf(COPPER, dataclasses.replace(BASE, stepcut=4.0))
    assert np.all(g[R > 4.0] == 0)
    np.testing.assert_array_equal(g[R <= 4.0], G[R <= 4.0])
    assert np.abs(G[R > 4.0]).max() > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta1": -0.1}, "delta1 = -0.1: must be finite and not negative"),
        ({"delta2": -1.0}, "delta2 = -1.0: must be finite and not negative"),
        ({"delta2": math.inf}, "delta2 = inf"),
        ({"scale": -1.0}, "scale = -1.0"),
        ({"scale": math.nan}, "scale = nan"),
        ({"spdiameter": 0.0}, "spdiameter = 0.0: must be positive"),
        ({"spdiameter": math.nan}, "spdiameter = nan"),
        ({"stepcut": -5.0}, "stepcut = -5.0: must be positive"),
        ({"scattering_lengths": {"Ni": math.nan}}, r"scattering_lengths\['Ni'\] = nan"),
    ],
)
def test_senseless_values_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        PDFParameters(**change)


def test_equal_parameters_are_one_key():
    """They are keys of caches, own scattering lengths included."""
    one = PDFParameters(scattering_lengths={"Ni": 10.3, "Ti": -3.4})
    other = PDFParameters(scattering_lengths={"Ti": -3.4, "Ni": 10.3})
    assert len({one, other, dataclasses.replace(one), PDFParameters()}) == 2
