from __future__ import annotations

import pytest

from defectgen.hosts.cif import read_cif, read_with_notes
from defectgen.hosts.elements import debye_uiso, metals
from defectgen.hosts.library import embedded_library
from defectgen.hosts.plausible import _window, objection_to_volume
from tests.defectgen.hosts.test_cif import FACES, cif, cubic

UISO = ("label", "fract_x", "fract_y", "fract_z", "U_iso_or_equiv")


def metal(path, element: str, a: float, uiso: object, extra: str = ""):
    row = f"{element}1 {element} 0 0 0 {uiso}"
    path.write_text(cif(cubic(a), [row], FACES, extra, ("label", "type_symbol", *UISO[1:])))
    return path


@pytest.mark.parametrize(
    ("element", "a", "uiso"),
    [("Pt", 3.924, 0.1), ("Cu", 3.615, 0.0005), ("Cu", 3.615, 0.55), ("Cu", 3.615, 0)],
)
def test_displacements_that_the_metal_cannot_have_are_replaced_and_said(tmp_path, element, a, uiso):
    path = metal(tmp_path / "a.cif", element, a, uiso)
    entry = read_cif(path)
    assert entry.host.uiso == debye_uiso(element)
    assert entry.host.uiso_source == "debye"
    assert any(f"Uiso of {element}1 ({uiso:.4g} A^2) left out" in note for note in entry.notes)
    assert any("Debye value at 300 K" in note for note in entry.notes)
    structure, notes = read_with_notes(path)
    assert set(structure.uiso) == {debye_uiso(element)}
    assert notes == entry.notes
    assert set(read_with_notes(path, 0.006)[0].uiso) == {0.006}


@pytest.mark.parametrize("uiso", [0.0018, 0.007, 0.031])
def test_displacements_of_the_metal_are_kept(tmp_path, uiso):
    entry = read_cif(metal(tmp_path / "a.cif", "Cu", 3.615, uiso))
    assert (entry.host.uiso, entry.host.uiso_source, entry.notes) == (uiso, "cif", ())


def test_the_window_holds_the_debye_values_of_every_metal():
    for element in metals():
        low, high = _window(element)
        assert low < debye_uiso(element, 0.0) < high
        assert low < debye_uiso(element, 300.0) < high


def test_a_cage_of_a_compound_may_be_wider_than_any_metal(tmp_path):
    rows = ["Pt1 0 0 0 0.1", "O1 0.5 0.5 0.5 0.02"]
    (tmp_path / "a.cif").write_text(cif(cubic(4.5), rows, FACES, columns=UISO))
    structure, notes = read_with_notes(tmp_path / "a.cif")
    assert set(structure.uiso) == {0.1, 0.02}
    assert notes == ()


@pytest.mark.parametrize("a", [2.3, 3.615 * 1.8897, 36.15])
def test_a_volume_that_the_metal_cannot_have(tmp_path, a):
    path = metal(tmp_path / "a.cif", "Cu", a, 0.007)
    with pytest.raises(ValueError, match=r"A\^3 per atom, where Cu takes 11.8: correct the cell"):
        read_cif(path)
    _, (note,) = read_with_notes(path)
    assert note.startswith("suspect: ")


def test_pressure_allows_less_volume(tmp_path):
    with pytest.raises(ValueError, match="or add _diffrn_ambient_pressure"):
        read_cif(metal(tmp_path / "a.cif", "K", 4.0, 0.05))
    with pytest.raises(ValueError, match="or add _diffrn_ambient_pressure"):
        read_cif(metal(tmp_path / "a.cif", "K", 4.6, 0.05, "_diffrn_ambient_pressure 101.3"))
    pressure = "_diffrn_ambient_pressure 15000000"
    assert read_cif(metal(tmp_path / "b.cif", "K", 4.6, 0.05, pressure)).host.pressure == 15.0


def test_no_published_cell_is_objected_to():
    for host in embedded_library(published_only=True):
        volume = host.atoms.volume / len(host.frac)
        assert objection_to_volume(host.element, volume, host.pressure) is None, host.id


def test_an_isotope_moves_as_its_element(tmp_path):
    (tmp_path / "a.cif").write_text(cif(cubic(3.524), ["58Ni 0 0 0"], FACES))
    structure, (*_, note) = read_with_notes(tmp_path / "a.cif")
    assert set(structure.elements) == {"58-Ni"}
    assert set(structure.uiso) == {debye_uiso("Ni")}
    assert note.startswith("no usable Uiso of 58Ni")


def test_a_formula_of_another_element_is_a_contradiction(tmp_path):
    path = metal(tmp_path / "a.cif", "Cu", 3.615, 0.007, "_chemical_formula_sum Ni")
    with pytest.raises(ValueError, match="the formula is Ni, the atoms are Cu"):
        read_cif(path)
    assert "Cu not in the formula" in read_with_notes(path)[1]
