from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from defectgen.hosts.cif import read_cif, read_cif_folder, read_structure, read_with_notes
from defectgen.hosts.elements import debye_uiso
from pdfcalc.crystals.periodic import nearest_neighbour

IDENTITY = ["x,y,z"]
FACES = ["x,y,z", "x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "x+1/2,y+1/2,z"]
BODY = ["x,y,z", "x+1/2,y+1/2,z+1/2"]
SCREW = ["x,y,z", "-x,-y,z+1/2"]


def cif(
    cell, atoms, operations=IDENTITY, extra="", columns=("label", "fract_x", "fract_y", "fract_z")
):
    """CIF text: cell as a, b, c, alpha, beta, gamma; atoms as rows of text."""
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_test"]
    lines += [f"_cell_{name} {value}" for name, value in zip(names, cell, strict=True)]
    if operations:
        lines += ["loop_", "_symmetry_equiv_pos_as_xyz", *(f"'{o}'" for o in operations)]
    lines += [extra, "loop_", *(f"_atom_site_{column}" for column in columns), *atoms]
    return "\n".join(lines) + "\n"


def cubic(a):
    return (a, a, a, 90, 90, 90)


def tetragonal(a, c):
    return (a, a, c, 90, 90, 90)


def hexagonal(a, c):
    return (a, a, c, 90, 90, 120)


NI = cif(cubic(3.524), ["Ni 0 0 0"], FACES)
FE = cif(cubic(2.8665), ["Fe1 0 0 0"], BODY)
MG = cif(hexagonal(3.2093, 5.2103), ["Mg 0.33333 0.66667 0.25"], SCREW)
IN = cif(tetragonal(3.2530, 4.9455), ["In1 0 0 0"], BODY)
# Origin choice 1, as in most older work.
SN = cif(tetragonal(5.8197, 3.1749), ["Sn 0 0 0", "Sn 0 0.5 0.25"], BODY)


@pytest.fixture
def read(tmp_path):
    def read_text(text, name="a.cif"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_cif(path)

    return read_text


@pytest.mark.parametrize(
    ("text", "group", "wyckoff", "a", "c"),
    [
        (NI, 225, ("4a",) * 4, 3.524, 3.524),
        (FE, 229, ("2a",) * 2, 2.8665, 2.8665),
        (MG, 194, ("2c",) * 2, 3.2093, 5.2103),
        (IN, 139, ("2a",) * 2, 3.2530, 4.9455),
        (SN, 141, ("4a",) * 4, 5.8197, 3.1749),
    ],
)
def test_group_and_cell_come_from_the_coordinates(read, text, group, wyckoff, a, c):
    host = read(text).host
    assert (host.space_group, host.wyckoff) == (group, wyckoff)
    assert (host.a, host.c) == pytest.approx((a, c), abs=1e-9)
    assert host.origin == "cif"
    assert host.uiso_source == "debye"
    assert host.uiso == debye_uiso(host.element, 300.0)


def test_positions_are_exact_and_in_the_standard_origin(read):
    assert read(MG).host.frac == ((1 / 3, 2 / 3, 0.25), (2 / 3, 1 / 3, 0.75))
    assert (0.0, 0.75, 0.125) in read(SN).host.frac  # origin choice 2


@pytest.mark.parametrize(
    ("text", "shifted"),
    [
        (NI, cif(cubic(3.524), ["Ni 0.5 0.5 0.5"], FACES)),
        (MG, cif(hexagonal(3.2093, 5.2103), ["Mg 0.6667 0.3333 0.25"], SCREW)),
        (IN, cif(tetragonal(3.2530, 4.9455), ["In 0 0 0.5"], BODY)),
        (SN, cif(tetragonal(5.8197, 3.1749), ["Sn 0 0 0.5", "Sn 0.5 0 0.25"], BODY)),
        (SN, cif(tetragonal(5.8197, 3.1749), ["Sn 0 0.75 0.125", "Sn 0 0.25 0.875"], BODY)),
        (IN, cif((3.2530, 3.2530, 3.37722, 61.2065, 61.2065, 90), ["In 0 0 0"])),
    ],
)
def test_any_origin_or_cell_gives_the_same_host(read, text, shifted):
    one, other = read(text).host, read(shifted).host
    assert (other.space_group, other.wyckoff) == (one.space_group, one.wyckoff)
    np.testing.assert_allclose(other.frac, one.frac, atol=1e-6)
    assert (other.a, other.c) == pytest.approx((one.a, one.c), abs=1e-3)


def test_framework_of_bismuth_iii(read):
    x = 0.153
    corners = [(x, x + 0.5), (-x, 0.5 - x), (0.5 - x, x), (0.5 + x, -x)]
    cell = tetragonal(8.518, 4.164)
    at_zero = cif(cell, [f"Bi {u:.4f} {v:.4f} 0" for u, v in corners], BODY)
    at_half = cif(cell, [f"Bi {u:.4f} {v:.4f} 0.5" for u, v in corners], BODY)
    host = read(at_zero).host
    assert (host.space_group, host.wyckoff) == (140, ("8h",) * 8)
    assert (x, x + 0.5, 0.0) in [tuple(np.round(p, 6)) for p in host.frac]
    np.testing.assert_allclose(read(at_half).host.frac, host.frac, atol=1e-9)


def test_double_hexagonal_has_two_orbits(read):
    atoms = ["La 0 0 0", "La 0.33333 0.66667 0.25"]
    host = read(cif(hexagonal(3.77, 12.159), atoms, SCREW)).host
    assert host.wyckoff == ("2a", "2a", "2c", "2c")


def test_declared_group_is_not_believed(read):
    atoms = ["Ni1 0 0 0", "Ni2 0 0.5 0.5", "Ni3 0.5 0 0.5", "Ni4 0.5 0.5 0"]
    entry = read(cif(cubic(3.524), atoms, extra="_space_group_IT_number 1"))
    assert entry.host.space_group == 225
    assert any("declared space group 1" in note for note in entry.notes)


@pytest.mark.parametrize(
    ("symbol", "atom", "group", "count"),
    [
        ("_symmetry_space_group_name_H-M 'F m -3 m'", "Ni 0 0 0", 225, 4),
        ("_symmetry_space_group_name_H-M 'F m 3 m'", "Ni 0 0 0", 225, 4),
        ("_symmetry_space_group_name_H-M 'I 41/a m d S'", "Sn 0 0 0", 141, 4),
        ("_symmetry_space_group_name_H-M 'I 41/a m d Z'", "Sn 0 0.75 0.125", 141, 4),
        ("_symmetry_space_group_name_H-M 'I 41/a m d :2'", "Sn 0 0.75 0.125", 141, 4),
        ("_space_group_name_Hall '-P 6c 2c'", "Mg 0.3333 0.6667 0.25", 194, 2),
        ("_symmetry_Int_Tables_number 229", "Fe 0 0 0", 229, 2),
        (
            "_space_group_IT_number 141\n_chemical_formula_sum Sn\n_cell_formula_units_Z 4",
            "Sn 0 0 0",
            141,
            4,
        ),
    ],
)
def test_operations_from_the_name_of_the_group(read, symbol, atom, group, count):
    cell = {194: hexagonal(3.2, 5.2), 141: tetragonal(5.82, 3.17)}.get(group, cubic(3.5))
    host = read(cif(cell, [atom], operations=None, extra=symbol)).host
    assert (host.space_group, len(host.frac)) == (group, count)


def test_open_origin_choice_is_not_guessed(read):
    text = cif(tetragonal(5.82, 3.17), ["Sn 0 0 0"], None, "_space_group_IT_number 141")
    with pytest.raises(ValueError, match="origin choice"):
        read(text)


@pytest.mark.parametrize(
    ("symbol", "element"),
    [("Zr1+", "Zr"), ("Fe3+", "Fe"), ("Ni0+", "Ni"), ("NI", "Ni"), ("Ni", "Ni")],
)
def test_ion_symbols(read, symbol, element):
    columns = ("label", "type_symbol", "fract_x", "fract_y", "fract_z")
    entry = read(cif(cubic(3.2), [f"{element}1 {symbol} 0 0 0"], BODY, columns=columns))
    assert entry.host.element == element
    assert any(repr(symbol) in note for note in entry.notes) == (symbol != element)


def test_ion_labels_without_type_symbol(read):
    assert read(cif(cubic(3.2), ["Zr1+ 0 0 0"], BODY)).host.element == "Zr"


def test_duplicated_atoms_are_merged(read):
    atoms = ["Fe1 0 0 0", "Fe2 0.0001 0 0", "Fe3 0.5 0.5 0.5"]
    entry = read(cif(cubic(2.87), atoms, BODY))
    assert len(entry.host.frac) == 2
    assert any("Fe2, Fe3" in note for note in entry.notes)


def one_atom_with(column, value):
    columns = ("label", "fract_x", "fract_y", "fract_z", column)
    return cif(cubic(2.87), [f"Fe 0 0 0 {value}"], BODY, columns=columns)


@pytest.mark.parametrize(
    ("column", "value", "uiso"),
    [
        ("U_iso_or_equiv", "0.0051(2)", 0.0051),
        ("B_iso_or_equiv", "0.40", 0.40 / (8 * np.pi**2)),
        ("U_iso_or_equiv", "0", None),
        ("U_iso_or_equiv", "-0.01", None),
        ("U_iso_or_equiv", "?", None),
        ("U_iso_or_equiv", ".", None),
        ("U_iso_or_equiv", "3.1", None),
        ("B_iso_or_equiv", "0", None),
    ],
)
def test_isotropic_displacement(read, column, value, uiso):
    entry = read(one_atom_with(column, value))
    assert entry.host.uiso_source == ("cif" if uiso else "debye")
    assert entry.host.uiso == pytest.approx(uiso or debye_uiso("Fe", 300.0))
    assert any("Debye" in note for note in entry.notes) == (uiso is None)


def test_anisotropic_displacement_in_a_hexagonal_cell(read):
    # U11 = U22 = 2 U12 is isotropic in the plane.
    tensor = "\n".join(
        ["loop_", "_atom_site_aniso_label"]
        + [f"_atom_site_aniso_U_{ij}" for ij in ("11", "22", "33", "12", "13", "23")]
        + ["Mg 0.010(1) 0.010(1) 0.016(1) 0.005 0 0"]
    )
    entry = read(MG + tensor)
    assert entry.host.uiso_source == "cif"
    assert entry.host.uiso == pytest.approx((0.010 + 0.010 + 0.016) / 3)


def test_temperature_and_pressure(read):
    extra = "_diffrn_ambient_temperature 77(1)\n_diffrn_ambient_pressure 2.5e+06"
    host = read(cif(cubic(2.87), ["Fe 0 0 0"], BODY, extra)).host
    assert (host.temperature, host.pressure) == (77.0, pytest.approx(2.5))
    assert host.uiso == debye_uiso("Fe", 77.0)


@pytest.mark.parametrize("temperature", ["-3", "0", "1e9"])
def test_absurd_temperatures_are_ignored_and_said(read, temperature):
    extra = f"_diffrn_ambient_temperature {temperature}"
    entry = read(cif(cubic(2.87), ["Fe 0 0 0"], BODY, extra))
    assert entry.host.temperature is None
    assert entry.host.uiso == debye_uiso("Fe", 300.0)
    assert any("temperature" in note and "ignored" in note for note in entry.notes)


def test_empty_sites_are_left_out_and_said(read):
    rows = ["Fe 0 0 0 1", "C 0.5 0.5 0 0"]
    entry = read(cif(cubic(2.87), rows, BODY, columns=OCCUPANCY))
    assert entry.host.wyckoff == ("2a", "2a")
    assert "left out, as their occupancy is 0: C" in entry.notes


NACL = cif(cubic(5.64), ["Na 0 0 0", "Cl 0.5 0.5 0.5"], FACES)
OCCUPANCY = ("label", "fract_x", "fract_y", "fract_z", "occupancy")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"  \n\n", "empty"),
        (b"\x00\x01\x02data_\x00", "not text"),
        (b"hello\n", "no data block"),
        (b"data_x\n_cell_length_a 3\n", "no atoms"),
        (NACL, "alloy or compound of Cl, Na"),
        (cif(cubic(3.6), ["Cu1 0 0 0", "Zn1 0.5 0.5 0.5"]), "alloy or compound of Cu, Zn"),
        (cif(cubic(5.26), ["Ar 0 0 0"], FACES), "Ar is not one of the metals"),
        (cif(cubic(3.6), ["D1 0 0 0"], FACES), "D is not one of the metals"),
        (cif(cubic(3.6), ["Qq1 0 0 0"], FACES), "no element"),
        (cif(cubic(3.6), ["Vac 0 0 0"], FACES), "are vacancies"),
        (
            cif(cubic(6.49), ["Sn 0 0 0", "Sn 0.25 0.25 0.25"], FACES),
            r"space group 227 \(Fd-3m\)",
        ),
        (cif(cubic(3.3), ["Po 0 0 0"]), "Po is not"),
        (cif(cubic(3.3), ["Ni 0 0 0"]), "space group 221"),
        (cif(cubic(2.87), ["Fe 0 0 0 0.5"], BODY, columns=OCCUPANCY), "partial occupancy: Fe 0.5"),
        (cif(cubic(2.87), ["Fe 0 0 0", "Fe 0.2 0 0"], BODY), "atoms only 0.57 A apart"),
        (cif(cubic(0.1), ["Fe 0 0 0"], BODY), "absurd cell"),
        (cif((3, 3, 3, 170, 170, 5.5), ["Fe 0 0 0"], BODY), "absurd cell"),
        (cif(("?", 3, 3, 90, 90, 90), ["Fe 0 0 0"], BODY), "cell lengths"),
        (cif(cubic(2.87), ["Fe ? ? ?"], BODY), "no usable coordinates"),
        (cif(cubic(2.87), ["Fe 1e300 0 0"], BODY), "no usable coordinates"),
        (cif(cubic(2.87), ["Fe 0 0 0 0"], BODY, columns=OCCUPANCY), "occupancy 0"),
        (cif(cubic(2.87), ["Fe 0 0 0"], ["x,y"]), "symmetry operation"),
        (NI + NI.replace("data_test", "data_other"), r"holds 2 structures \(test, other\)"),
        (NI[: NI.index("Ni 0 0 0") + 4], "cut off"),
        (NI[: NI.index("_atom_site_fract_y")], "cut off|lacks"),
        ("data_x\n" + "# filler\n" * 4_000_000, "more than 32 MiB"),
    ],
)
def test_unusable_files_are_quarantined_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "bad.cif"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "good.cif").write_text(NI)
    result = read_cif_folder(tmp_path)
    assert [entry.file for entry in result.accepted] == ["good.cif"]
    assert [entry.file for entry in result.quarantined] == ["bad.cif"]
    with pytest.raises(ValueError, match=reason):
        raise ValueError(result.quarantined[0].reason)


def test_other_encodings_are_read(read):
    entry = read("# M\xfcller\n".encode("latin-1") + NI.encode())
    assert any("Latin-1" in note for note in entry.notes)
    assert read(b"\xef\xbb\xbf" + NI.encode()).host.element == "Ni"
    assert read(NI.replace("\n", "\r\n")).host.element == "Ni"


def test_long_blank_runs_take_no_time(read):
    assert read(NI + "\n" * 3_000_000 + " " * 1_000_000).host.element == "Ni"


def test_nasty_names_and_subfolders(tmp_path):
    names = ["a b.cif", 'it\'s "x".CIF', "line\nbreak.cif", "..cif", "sub/...cif", "-rf.cif"]
    (tmp_path / "sub").mkdir()
    for i, name in enumerate(names):
        (tmp_path / name).write_text(f"# {i}\n{NI}")
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.cif")).write_text(f"# byte\n{NI}")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.cif").symlink_to(tmp_path / "self.cif")
    (tmp_path / "gone.cif").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.cif")
    (tmp_path / "folder.cif").mkdir()
    result = read_cif_folder(tmp_path)
    assert sorted(e.file for e in result.accepted) == sorted([*names, "\\xff.cif"])
    assert sorted(e.file for e in result.quarantined) == ["gone.cif", "pipe.cif", "self.cif"]
    ids = [host.id for host in result.hosts]
    assert len(set(ids)) == len(ids)
    assert all(i.replace("-", "").replace("_", "").isalnum() and i.isascii() for i in ids)
    assert read_cif_folder(tmp_path) == result


def test_copies_are_quarantined_but_phases_at_other_conditions_kept(tmp_path):
    (tmp_path / "a.cif").write_text(NI)
    (tmp_path / "b.cif").write_text(NI)
    (tmp_path / "c.cif").write_text(cif(cubic(3.524), ["Ni 0 0 0"], FACES, "_cell_volume 43.8"))
    result = read_cif_folder(tmp_path)
    assert [entry.file for entry in result.accepted] == ["a.cif", "c.cif"]
    assert result.quarantined[0].reason == "the same content as 'a.cif'"


def test_folder_without_cif_files(tmp_path):
    with pytest.raises(ValueError, match="not a folder"):
        read_cif_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no file that ends in \.cif"):
        read_cif_folder(tmp_path)


def test_nothing_is_written_to_the_terminal(tmp_path, capfd):
    (tmp_path / "a.cif").write_text(cif(cubic(3.5), ["Ni 0 0 0"], FACES))
    (tmp_path / "b.cif").write_text(NACL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_cif_folder(tmp_path).accepted) == 1
    assert capfd.readouterr() == ("", "")


def test_structure_of_a_compound(tmp_path):
    path = tmp_path / "a.cif"
    columns = (*OCCUPANCY, "U_iso_or_equiv")
    atoms = ["Na 0 0 0 1 0.02", "Cl 0.5 0.5 0.5 0.9 0.03"]
    path.write_text(cif(cubic(5.64), atoms, FACES, columns=columns))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        structure = read_structure(path)
    assert sorted(structure.elements) == ["Cl"] * 4 + ["Na"] * 4
    assert nearest_neighbour(structure.lattice, structure.frac) == pytest.approx(2.82)
    chlorine = structure.elements == "Cl"
    assert set(structure.uiso[chlorine]) == {0.03}
    assert set(structure.occupancy[chlorine]) == {0.9}
    path.write_text(NACL)
    with pytest.raises(
        ValueError, match=r"no usable Uiso of Na, Cl, .* --uiso Na=0\.01 --uiso Cl="
    ):
        read_structure(path)
    structure, notes = read_with_notes(path, {"Na": 0.02, "Cl": 0.03})
    assert dict(zip(structure.elements, structure.uiso, strict=True)) == {"Na": 0.02, "Cl": 0.03}
    assert "no usable Uiso of Na: 0.02 A^2 used, as given" in notes
