"""The engines against diffpy.srreal itself, in what the recorded reference values do not cover."""

from __future__ import annotations

import numpy as np
import pytest

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf

pytest.importorskip("diffpy.srreal.pdfcalculator")

FRAC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
ALLOY = AtomicStructure(
    3.6 * np.eye(3), FRAC, ["58-Ni", "Ti", "Cu", "Cu"], [0.005, 0.006, 0.007, 0.007]
)
PARTICLE = AtomicStructure.finite(3.6 * FRAC, ALLOY.elements, ALLOY.uiso, [1.0, 0.8, 1.0, 1.0])
INSTRUMENT = (0.0, 12.0, 0.01, 0.6, 23.6, 0.03, 0.01)


@pytest.mark.parametrize("structure", [ALLOY, PARTICLE], ids=["alloy", "particle"])
@pytest.mark.parametrize("pair", [None, ("Cu", "Cu"), ("Ti", "58-Ni")])
@pytest.mark.parametrize(
    "further",
    [
        {},
        {"scattering": "neutron"},
        {"scattering_lengths": {"Cu": 3.0, "Ti": -2.0}},
        {"scale": 0.6, "spdiameter": 9.0, "stepcut": 7.5},
    ],
)
def test_agrees_with_diffpy_srreal(structure, pair, further):
    parameters = PDFParameters(*INSTRUMENT, **further)
    _, g = calculate_pdf(structure, parameters, "pairs", pair)
    _, expected = calculate_pdf(structure, parameters, "diffpy", pair)
    np.testing.assert_allclose(g, expected, atol=1e-4 * np.abs(expected).max())
