from __future__ import annotations

import gemmi
import numpy as np
import pytest

from pdfcalc.crystals.cif import describe, expand
from pdfcalc.crystals.cif_symmetry import Operations, symmetry_of

CUBE = "data_a\n" + "".join(
    f"_cell_length_{axis} 3.6\n_cell_angle_{angle} 90\n"
    for axis, angle in zip("abc", ("alpha", "beta", "gamma"), strict=True)
)
ATOM = "\nloop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
COPPER = f"{ATOM}Cu1 0 0 0\n"
FACES = ("x,y,z", "x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "x+1/2,y+1/2,z")
BODY = ("x,y,z", "x+1/2,y+1/2,z+1/2")
NAMED = "_symmetry_space_group_name_H-M 'F m -3 m'\n"


def operations(*texts: str, tag: str = "_symmetry_equiv_pos_as_xyz") -> str:
    return "\n".join(["loop_", tag, *(f"'{text}'" for text in texts)]) + "\n"


def atoms(text: str) -> tuple[int, tuple[str, ...]]:
    """In the cell, and what is said of them."""
    description = describe((CUBE + text + COPPER).encode())
    crystal = expand(description)
    return len(crystal.row), (*description.notes, *crystal.notes)


@pytest.mark.parametrize(
    "text",
    [
        NAMED,
        "_symmetry_space_group_name_H-M Fm-3m\n",
        "_symmetry_space_group_name_H-M 'F 4/m -3 2/m'\n",
        "_space_group_name_H-M_ref 'F m -3 m'\n",
        "_space_group_name_Hall '-F 4 2 3'\n",
        "_space_group.name_Hall '-F 4 2 3'\n",
        "_symmetry_Int_Tables_number 225\n",
        f"{NAMED}{operations('?')}",
        f"{NAMED}_chemical_formula_sum Cu\n_cell_formula_units_Z 4\n{operations('x,y,z')}",
        f"{NAMED}_chemical_formula_sum Cu4\n_cell_formula_units_Z 4\n{operations('x,y,z')}",
    ],
)
def test_a_group_that_is_named_is_used_and_said(text):
    number, notes = atoms(text)
    assert number == 4
    assert any("used" in note for note in notes)


def test_a_list_that_lacks_the_identity_gets_it():
    number, notes = atoms(operations(BODY[1]))
    assert number == 2
    assert notes == ("the symmetry operations lack the identity x,y,z: added",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_symmetry_space_group_name_H-M 'F m -3 n m'\n", "name_h-m 'F m -3 n m' is no space"),
        (f"_space_group_name_H-M_alt Quux\n{operations('x,y,z')}", "'Quux' is no space group"),
        (
            f"{NAMED}_symmetry_Int_Tables_number 229\n",
            "contradict each other: 'F m -3 m' [(]225[)]",
        ),
        (NAMED + operations(*BODY), "are those of space group 1, the group named is 'F m -3 m'"),
        (NAMED + operations("x,y,z"), "do not tell whether the cell has 1 or 4 atoms"),
        (operations("x,y,z", "x+1/3,y,z"), "the 2 symmetry operations listed are not a group"),
        (operations("x,y,z", "x,y"), "symmetry operation 'x,y' cannot be read"),
        (operations("x,y,z", "2x,y,z"), "symmetry operation '2x,y,z' cannot be read"),
        (operations("x,y,z", f"x+{'1' * 60}/2,y,z"), "cannot be read"),
        (
            f"_chemical_formula_sum Cu\n_cell_formula_units_Z 4\n{operations(*BODY)}",
            "formula and Z need 2 times the 2 atoms",
        ),
        (
            operations("x,y,z,+1", tag="_space_group_symop_magn_operation.xyz"),
            "is told by _space_group_symop_magn_operation_xyz, which is not read",
        ),
        (
            operations("x1,x2,x3,x4", tag="_space_group_symop_ssg_operation_algebraic"),
            "is told by _space_group_symop_ssg_operation_algebraic",
        ),
        (
            NAMED + operations("x,y,z,+1", tag="_space_group_symop_magn_operation.xyz"),
            "is told by _space_group_symop_magn_operation_xyz, which is not read",
        ),
        ('_space_group_magn.name_BNS "P_I 4/n"\n', "is told by _space_group_magn_name_bns"),
        ("_space_group_name_Schoenflies O_h^5\n", "is told by _space_group_name_schoenflies"),
    ],
)
def test_what_is_not_understood_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        atoms(text)


def test_operations_may_have_a_name_that_no_table_has():
    number, notes = atoms(f"_space_group_name_H-M_alt 'F 1 (no. 1)'\n{operations(*FACES)}")
    assert number == 4
    assert any("'F 1 (no. 1)' is no space group of the tables" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_atom_site_occupancy 1\n", "_atom_site_occupancy has 1 values for 2 atoms"),
        ("_atom_site_u_iso_or_equiv 1\n", "_atom_site_u_iso_or_equiv has 1 values for 2 atoms"),
        (
            "loop_\n_atom_site_aniso_label\nCu1\nCu2\n"
            + "".join(f"_atom_site_aniso_U_{ij} 0.01\n" for ij in (11, 22, 33, 12, 13, 23)),
            "_atom_site_aniso_u_11 and its fellows are not as many as their labels",
        ),
    ],
)
def test_columns_must_have_a_value_for_each_atom(text, message):
    with pytest.raises(ValueError, match=message):
        describe(f"{CUBE}{NAMED}{text}{COPPER}Cu2 0.5 0 0\n".encode())


def test_hydrogen_that_is_not_listed_does_not_count():
    assert (
        atoms(f"_chemical_formula_sum 'Cu H2'\n_cell_formula_units_Z 2\n{operations(*BODY)}")[0]
        == 2
    )


@pytest.mark.parametrize(
    "text",
    [
        NAMED,
        NAMED + operations("x,y,z"),
        "_symmetry_space_group_name_H-M 'P 63/m m c'\n",
        operations("x,y,z", "z,x,y", "y,z,x"),
    ],
)
def test_a_cell_must_have_the_symmetry_of_its_group(text):
    tetragonal = CUBE.replace("_cell_length_c 3.6", "_cell_length_c 3.9")
    description = describe(f"{tetragonal}{text}{COPPER}".encode())
    with pytest.raises(ValueError, match="lengths and angles do not have the symmetry"):
        expand(description)


@pytest.mark.parametrize(("gamma", "c", "atoms"), [(120, 12.0, 3), (60, 3.6, 1)])
def test_the_cell_tells_hexagonal_from_rhombohedral_axes(gamma, c, atoms):
    text = CUBE.replace("_cell_length_c 3.6", f"_cell_length_c {c}")
    text = text.replace("_cell_angle_gamma 90", f"_cell_angle_gamma {gamma}")
    if gamma == 60:
        text = text.replace(" 90", " 60")
    description = describe(f"{text}_symmetry_space_group_name_H-M 'R -3 m'{COPPER}".encode())
    assert len(expand(description).row) == atoms


def test_several_settings_with_as_many_atoms_are_not_guessed_between():
    with pytest.raises(ValueError, match="not which of its settings"):
        atoms("_symmetry_space_group_name_H-M 'F d -3 m'\n")


def as_set(operations: Operations) -> set[bytes]:
    rotations, translations = operations
    rows = np.concatenate([rotations.reshape(-1, 9), np.rint(translations * 24) % 24], axis=1)
    return {row.tobytes() for row in rows.astype(np.int8)}


def of_table(setting: gemmi.SpaceGroup) -> set[bytes]:
    operations = list(setting.operations())
    rotations = np.array([operation.rot for operation in operations]) // gemmi.Op.DEN
    return as_set((rotations, np.array([op.tran for op in operations]) / gemmi.Op.DEN))


def test_every_setting_of_the_tables_is_known_by_each_of_its_names():
    table = list(gemmi.spacegroup_table())
    assert len(table) == 564
    for setting in table:
        expected = of_table(setting)
        for tag, name, is_unique in (
            ("_space_group_name_hall", setting.hall, True),
            ("_space_group_name_h-m_alt", setting.xhm(), True),
            ("_space_group_name_h-m_alt", setting.xhm().replace(" ", ""), False),
            ("_space_group_name_h-m_alt", setting.short_name(), False),
            ("_space_group_it_number", str(setting.number), False),
        ):
            found = [as_set(operations) for operations in symmetry_of({tag: [name]}).settings]
            assert expected in found, name
            assert len(found) == 1 or not is_unique, name


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *[("C m c a", 64), ("C m c e", 64), ("A b m 2", 39), ("A e m 2", 39), ("C c c a :1", 68)],
        *[("R 3 m :H", 160), ("R -3 m H", 166), ("R-3m:R", 166), ("A -1", 2), ("I 2/m", 12)],
        *[("F d -3 m S", 227), ("Fd-3mZ", 227), ("I 41/a m d Z", 141), ("F 4/m m m", 139)],
        *[("P 6(3)/m m c", 194), ("P 6_3/mmc", 194), ("P 6~3~/mmc", 194), ("F m 3 m", 225)],
        *[("F 4/m -3 2/m", 225), ("C 2/m 2/c 21/a", 64), ("P 6\u2083/m m c", 194), ("FM-3M", 225)],
    ],
)
def test_names_as_people_write_them(name, number):
    tags = {"_symmetry_space_group_name_h-m": [name]}
    assert symmetry_of(tags | {"_space_group_it_number": [str(number)]}).settings
    with pytest.raises(ValueError, match="contradict each other"):
        symmetry_of(tags | {"_space_group_it_number": ["75"]})
