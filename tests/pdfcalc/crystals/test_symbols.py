from __future__ import annotations

import pytest

from pdfcalc.crystals.symbols import element_of, isotope_of_mass, read_label, read_symbol


@pytest.mark.parametrize(
    ("text", "atom"),
    [
        *[("Cu", "Cu"), ("CU", "Cu"), ("cu", "Cu"), ("Cu1", "Cu"), ("Fe3+", "Fe"), ("Fe+3", "Fe")],
        *[("Na1+", "Na"), ("Cl-", "Cl"), ("Cu0+", "Cu"), ("O2-", "O"), ("Ni_a", "Ni")],
        *[("Cval", "C"), ("D", "D"), ("T", "T"), ("2H", "D"), ("(2)H", "D")],
        *[("58Ni", "58-Ni"), ("58-Ni", "58-Ni"), ("(58)Ni2+", "58-Ni"), ("1H", "H")],
        *[("Va", None), ("Vac", None), ("VAC1", None), ("Vc", None), ("X", None), ("Du", None)],
        *[("H2O", "O"), ("D2O1", "O"), ("NO3", "N"), ("NH4", "N")],
        *[("Wat", "O"), ("Wa", "O"), ("Ow", "O"), ("OW1", "O"), ("HOh", "O")],
    ],
)
def test_what_symbols_mean(text, atom):
    assert read_symbol(text) == atom


@pytest.mark.parametrize("text", ["", "?", "Q1", "M", "Zz", "Met", "1", "-", "Copper", "Es"])
def test_what_is_no_symbol_is_refused(text):
    with pytest.raises(ValueError, match="no element is called"):
        read_symbol(text)


@pytest.mark.parametrize("text", ["Mg/Fe", "Al,Si", "Si / Al"])
def test_a_symbol_of_several_elements_is_refused(text):
    with pytest.raises(ValueError, match="names several elements: give each a row of its own"):
        read_symbol(text)


def test_an_isotope_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="Ni has no isotope 99"):
        read_symbol("99Ni")


def test_the_formula_tells_what_letters_alone_do_not():
    assert (read_symbol("CA"), read_symbol("CA", {"C", "O"})) == ("Ca", "C")
    assert (read_symbol("HO", {"H", "O"}), read_symbol("HO")) == ("H", "Ho")


def test_a_label_must_be_of_the_formula():
    with pytest.raises(ValueError, match="'W1' does not tell which element it is"):
        read_label("W1", {"Mg", "S", "O", "H"})
    assert (read_label("W1", {"W", "O"}), read_label("D1", {"H", "Pd"})) == ("W", "D")


def test_labels_of_tetrahedral_sites_are_not_tritium():
    with pytest.raises(ValueError, match="'T1' does not tell which element"):
        read_label("T1")
    assert (read_label("Ti1"), read_label("T1", {"T"})) == ("Ti", "T")


def test_elements_and_masses_of_isotopes():
    assert [element_of(atom) for atom in ("Ni", "58-Ni", "D", "T")] == ["Ni", "Ni", "H", "H"]
    masses = [("H", 2.014), ("H", 1.008), ("Ni", 57.935), ("Ni", 58.693), ("H", 4.03), ("X", 1.0)]
    found = [isotope_of_mass(element, mass) for element, mass in masses]
    assert found == ["2H", "H", "58Ni", "Ni", "H", "X"]
