"""Scattering powers against tabulated values, and own ones."""

from __future__ import annotations

import numpy as np
import periodictable
import pytest

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf
from pdfcalc.crystals.scattering import form_factor, has_form_factor, scattering_power


@pytest.mark.parametrize(
    ("label", "electrons", "length"),
    [
        # V. F. Sears, Neutron News 3 (1992) 26.
        ("Ni", 28, 10.3),
        ("58-Ni", 28, 14.4),
        ("62Ni", 28, -8.7),
        ("Ni2+", 26, 10.3),
        ("Ni0+", 28, 10.3),
        ("58-Ni2+", 26, 14.4),
        ("Cl-", 18, 9.577),
        ("O2-", 10, 5.803),
        ("H", 1, -3.739),
        ("2-H", 1, 6.671),
        ("D", 1, 6.671),
    ],
)
def test_elements_isotopes_and_ions(label, electrons, length):
    assert scattering_power(label, "xray") == electrons
    found = scattering_power(label, "neutron")
    assert found == pytest.approx(length, rel=1e-3)


@pytest.mark.parametrize("label", ["Ni-58", "Xx", "58", "999-Ni", "ni", "Ni2", ""])
def test_other_labels_are_refused_with_the_remedy(label):
    with pytest.raises(ValueError, match=rf"'{label}' is not the symbol.*scattering_lengths"):
        scattering_power(label, "xray")


def test_ions_and_lengths_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match=r"'Ni9\+' is no ion of Ni: known charges"):
        scattering_power("Ni9+", "xray")
    with pytest.raises(ValueError, match="no neutron scattering length is tabulated for 57-Ni"):
        scattering_power("57-Ni", "neutron")


@pytest.mark.parametrize("label", ["Cd", "Sm", "Eu", "Gd", "157-Gd", "Gd3+"])
def test_lengths_that_depend_on_the_energy_are_refused_and_never_zero(label):
    with pytest.raises(
        ValueError, match=rf"depends on the energy, .* for {label[:6]}".replace("+", r"\+")
    ):
        scattering_power(label, "neutron")
    assert scattering_power(label, "neutron", ((label, 5.0),)) == 5.0
    assert scattering_power(label, "xray") > 40
    assert scattering_power("114-Cd", "neutron") == pytest.approx(7.48)


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


CROMER_MANN = {
    "O": ((3.0485, 2.2868, 1.5463, 0.867), (13.2771, 5.7011, 0.3239, 32.9089), 0.2508),
    "Al": ((6.4202, 1.9002, 1.5936, 1.9646), (3.0387, 0.7426, 31.5472, 85.0886), 1.1151),
    "Cu": ((13.338, 7.1676, 5.6158, 1.6735), (3.5828, 0.247, 11.3966, 64.8126), 1.191),
    "Sn": ((19.1889, 19.1005, 4.4585, 2.4663), (5.8303, 0.5031, 26.8909, 83.9571), 4.7821),
    "Ta": ((29.2024, 15.2293, 14.5135, 4.76492), (1.77333, 9.37046, 0.295977, 63.3644), 9.24354),
    "Pb": ((31.0617, 13.0637, 18.442, 5.9696), (0.6902, 2.3576, 8.618, 47.2579), 13.4118),
}
"""a, b and c of c + sum a exp(-b s^2): International Tables for Crystallography C, 6.1.1.4."""


@pytest.mark.parametrize("element", CROMER_MANN)
def test_form_factors_are_those_of_the_international_tables(element):
    s = np.linspace(0, 1.5, 31)
    a, b, c = CROMER_MANN[element]
    expected = c + np.exp(-np.outer(s**2, b)) @ a
    np.testing.assert_allclose(form_factor(element, s), expected, rtol=0.004)
    np.testing.assert_allclose(form_factor(element, s[:14]), expected[:14], rtol=0.002)


def test_at_no_angle_all_electrons_scatter_together():
    for number in range(1, 99):
        element = periodictable.elements[number].symbol
        assert form_factor(element, 0.0) == pytest.approx(number, abs=0.04)


def test_form_factors_of_ions_and_isotopes():
    s = np.array([[0.0, 0.1], [0.4, 0.9]])
    assert form_factor("Cl-", 0.0) == pytest.approx(18, abs=0.04)
    assert form_factor("58-Ni2+", 0.0) == pytest.approx(26, abs=0.04)
    for label in ("D", "2-H"):
        np.testing.assert_array_equal(form_factor(label, s), form_factor("H", s))


def test_form_factors_that_are_not_known_are_refused():
    assert has_form_factor("O2-")
    assert not has_form_factor("N3-")
    with pytest.raises(ValueError, match="no X-ray form factor is tabulated for N3-: take"):
        form_factor("N3-", 0.1)
    with pytest.raises(ValueError, match=r"'Xx' is not the symbol of .*: correct it$"):
        form_factor("Xx", 0.1)
    with pytest.raises(ValueError, match="known for 0 to 6 1/A"):
        form_factor("Cu", [0.1, 6.1])
