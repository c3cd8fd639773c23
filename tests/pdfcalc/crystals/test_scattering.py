"""Scattering powers against tabulated values, and own ones."""

from __future__ import annotations

import numpy as np
import pytest

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf
from pdfcalc.crystals.scattering import scattering_power


@pytest.mark.parametrize(
    ("label", "electrons", "length"),
    [
        # V. F. Sears, Neutron News 3 (1992) 26.
        ("Ni", 28, 10.3),
        ("58-Ni", 28, 14.4),
        ("62Ni", 28, -8.7),
        ("Ni2+", 26, 10.3),
        ("58-Ni2+", 26, 14.4),
        ("Cl-", 18, 9.577),
        ("O2-", 10, 5.803),
        ("H", 1, -3.739),
        ("2-H", 1, 6.671),
        ("D", 1, 6.671),
    ],
)
def test_elements_isotopes_and_ions(label, electrons, length):
    assert scattering_power(label, PDFParameters()) == electrons
    found = scattering_power(label, PDFParameters(scattering="neutron"))
    assert found == pytest.approx(length, rel=1e-3)


@pytest.mark.parametrize("label", ["Ni-58", "Xx", "58", "999-Ni", "ni", "Ni2", ""])
def test_other_labels_are_refused_with_the_remedy(label):
    with pytest.raises(ValueError, match=rf"'{label}' is not the symbol.*scattering_lengths"):
        scattering_power(label, PDFParameters())


def test_ions_and_lengths_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match=r"'Ni9\+' is no ion of Ni: known charges"):
        scattering_power("Ni9+", PDFParameters())
    with pytest.raises(ValueError, match="no neutron scattering length is tabulated for 57-Ni"):
        scattering_power("57-Ni", PDFParameters(scattering="neutron"))


def test_own_lengths_replace_the_tables_and_name_what_it_has_not():
    frac = [[0, 0, 0], [0.5, 0.5, 0.5]]
    named = AtomicStructure(3 * np.eye(3), frac, ["corner", "Cu"], [0.006] * 2)
    plain = AtomicStructure(3 * np.eye(3), frac, ["Ni", "Zn"], [0.006] * 2)
    own = PDFParameters(rmax=10.0, qmax=20.0, scattering_lengths={"corner": 28, "Cu": 30})
    _, g = calculate_pdf(named, own)
    _, expected = calculate_pdf(plain, PDFParameters(rmax=10.0, qmax=20.0))
    np.testing.assert_allclose(g, expected, atol=1e-12)
    with pytest.raises(ValueError, match="'corner' is not the symbol"):
        calculate_pdf(named, PDFParameters(scattering_lengths={"Cu": 30}))
