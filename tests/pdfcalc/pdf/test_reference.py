"""G(r) against diffpy.srreal.

`diffpy_srreal_pdfs.npz` holds 36 structures with the G(r) that diffpy.srreal's PDFCalculator gave
for them, at every seventh point from 1.5 A on: pristine, vacancy, substitution, both
interstitials and displaced atoms; six space groups; X-rays and neutrons; several Q-ranges.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf

DATA = Path(__file__).with_name("diffpy_srreal_pdfs.npz")
with np.load(DATA) as file:
    CASES = json.loads(str(file["meta"]))


def _case(number: int) -> tuple[AtomicStructure, PDFParameters, np.ndarray, np.ndarray]:
    with np.load(DATA) as data:
        lattice, frac, element, uiso, index, g = (
            data[f"{name}_{number}"]
            for name in ("lattice", "frac", "element", "uiso", "index", "g")
        )
    parameters = PDFParameters(**CASES[number]["params"], scattering=CASES[number]["scattering"])
    return AtomicStructure(lattice, frac, element, uiso), parameters, index, g


@pytest.mark.parametrize("engine", ["lattice", "pairs", "diffpy"])
@pytest.mark.parametrize("number", range(len(CASES)))
def test_agrees_with_diffpy_srreal(number, engine):
    if engine == "diffpy":
        pytest.importorskip("diffpy.srreal.pdfcalculator")
    structure, parameters, index, expected = _case(number)
    r, g = calculate_pdf(structure, parameters, engine)
    assert len(r) == len(g) == round(parameters.rmax / parameters.rstep)
    assert np.abs(g[index] - expected).max() <= 2e-5 * np.abs(expected).max()
