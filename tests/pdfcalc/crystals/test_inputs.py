"""Structures of other packages and CIF files give the atoms that they hold."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from pdfcalc import AtomicStructure, PDFParameters, as_structure, calculate_pdf

FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
# A third of the sites at the origin hold gold.
ALLOY = AtomicStructure(
    np.diag([3.6, 3.7, 3.8]),
    [[0, 0, 0], [0, 0, 0], [0.5, 0.5, 0.4]],
    ["Cu", "Au", "Cu"],
    [0.006, 0.008, 0.006],
    [0.7, 0.3, 1.0],
)
UISO = {"Cu": 0.006, "Au": 0.008}
CIF = """data_alloy
_cell_length_a 3.6
_cell_length_b 3.7
_cell_length_c 3.8
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_symmetry_equiv_pos_as_xyz
'x, y, z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
ATOMS = ("Cu1 Cu2+ 0 0 0 0.7", "Au1 Au 0 0 0 0.3", "Cu2 Cu 0.5 0.5 0.4 1")
TENSOR = "loop_\n_atom_site_aniso_label\n" + "".join(
    f"_atom_site_aniso_U_{ij}\n" for ij in ("11", "22", "33", "12", "13", "23")
)


def _assert_same(found: AtomicStructure, expected: AtomicStructure = ALLOY) -> None:
    parameters = PDFParameters(0.0, 10.0, 0.02, 0.6, 20.0)
    _, g = calculate_pdf(found, parameters)
    _, h = calculate_pdf(expected, parameters)
    np.testing.assert_allclose(g, h, atol=1e-6 * np.abs(h).max())
    assert sorted(found.elements) == sorted(expected.elements)


def _cif(path, column: str = "", values: tuple[str, ...] = ("", "", ""), more: str = ""):
    rows = (f"{atom} {value}" for atom, value in zip(ATOMS, values, strict=True))
    path.write_text(CIF + column + "\n".join(rows) + "\n" + more)
    return path


@pytest.mark.parametrize(
    ("name", "factor"), [("U_iso_or_equiv", 1), ("B_iso_or_equiv", 8 * np.pi**2)]
)
def test_cif_file_with_displacements(tmp_path, name, factor):
    values = tuple(f"{u * factor:.9f}" for u in (0.006, 0.008, 0.006))
    path = _cif(tmp_path / "alloy.cif", f"_atom_site_{name}\n", values)
    path.write_text(path.read_text().replace("Cu2+", "Cu"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _assert_same(as_structure(path))
    _assert_same(as_structure(str(path), uiso=0.5))
    _, g = calculate_pdf(path, PDFParameters(rmax=6.0))
    np.testing.assert_allclose(g, calculate_pdf(ALLOY, PDFParameters(rmax=6.0))[1], atol=1e-6)


def test_cif_file_with_tensors_gives_their_mean_and_says_so(tmp_path):
    rows = "Cu1 0.003 0.006 0.009 0 0.001 0\nAu1 0.008 0.008 0.008 0 0 0\nCu2 .006 .006 .006 0 0 0"
    path = _cif(tmp_path / "alloy.cif", more=TENSOR + rows)
    with pytest.warns(UserWarning, match=r"alloy\.cif: anisotropic displacements of Cu1 are"):
        _assert_same(as_structure(path))


def test_a_hexagonal_tensor_that_is_a_sphere_is_no_reason_to_warn(tmp_path):
    cell = CIF.replace("3.7", "3.6").replace("gamma 90", "gamma 120")
    # In these axes a sphere has U12 = U11 cos(gamma*) = U11 / 2.
    path = tmp_path / "zinc.cif"
    path.write_text(cell + "Zn1 Zn 0 0 0 1\n" + TENSOR + "Zn1 0.01 0.01 0.01 0.005 0 0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_structure(path).uiso == pytest.approx(0.01)


def test_what_had_to_be_assumed_of_a_cif_file_is_said(tmp_path):
    operations = CIF[CIF.index("_symmetry_space") : CIF.index("loop_\n_atom_site_label")]
    path = tmp_path / "copper.cif"
    path.write_text(CIF.replace(operations, "") + "Cu1 Cu 0 0 0 1\n")
    with pytest.warns(UserWarning, match=r"copper\.cif: no symmetry operations; the atoms listed"):
        as_structure(path, UISO)
    path.write_text(CIF + "Cu1 Cu 0 0 0 100\n")
    with pytest.warns(UserWarning, match=r"copper\.cif: occupancies above 1 taken for 1: Cu1"):
        assert as_structure(path, UISO).occupancy == 1


def test_cif_file_without_displacements(tmp_path):
    path = _cif(tmp_path / "alloy.cif")
    _assert_same(as_structure(path, UISO))
    with pytest.raises(ValueError, match=r"alloy\.cif: no Uiso of Au: .* uiso=\{'Au': 0\.005\}"):
        as_structure(path, {"Cu": 0.006})
    with pytest.raises(ValueError, match=r"missing\.cif: cannot be read: No such file"):
        as_structure(tmp_path / "missing.cif")


def test_pymatgen_structure_with_a_shared_site():
    core = pytest.importorskip("pymatgen.core")
    sites = [{"Cu2+": 0.7, "Au": 0.3}, "Cu"]
    structure = core.Structure(core.Lattice.orthorhombic(3.6, 3.7, 3.8), sites, ALLOY.frac[1:])
    _assert_same(as_structure(structure, UISO))
    with pytest.raises(ValueError, match=r"no Uiso of Cu, Au: give it to as_structure"):
        calculate_pdf(structure, PDFParameters())
    copper = core.Structure(
        core.Lattice.cubic(3.6), ["Cu"] * 4, FCC, site_properties={"U_iso_or_equiv": [0.007] * 4}
    )
    np.testing.assert_array_equal(as_structure(copper, uiso=0.1).uiso, [0.007] * 4)


def test_ase_crystal_with_a_shared_site(tmp_path):
    io = pytest.importorskip("ase.io")
    _assert_same(as_structure(io.read(_cif(tmp_path / "alloy.cif")), UISO))


def test_ase_atoms_with_displacements():
    ase = pytest.importorskip("ase")
    atoms = ase.Atoms("Cu2", [[0, 0, 0], [2.5, 0, 0]], cell=[5, 4, 4], pbc=True)
    atoms.set_array("uiso", np.array([0.004, 0.008]))
    expected = AtomicStructure(
        np.diag([5, 4, 4]), [[0, 0, 0], [0.5, 0, 0]], ["Cu"] * 2, [0.004, 0.008]
    )
    _assert_same(as_structure(atoms), expected)


def test_ase_atoms_without_boundaries_are_a_particle():
    ase = pytest.importorskip("ase")
    positions = np.array([[0, 0, 0], [2.5, 0, 0], [1.2, 2.0, 9.0]])
    cluster = ase.Atoms("Cu3", positions)
    found = as_structure(cluster, 0.006)
    assert not found.periodic
    _assert_same(found, AtomicStructure.finite(positions, ["Cu"] * 3, [0.006] * 3))
    cluster.pbc = (True, True, False)
    with pytest.raises(ValueError, match=r"some directions only, \(True, True, False\)"):
        as_structure(cluster, 0.006)


def test_diffpy_structure():
    diffpy = pytest.importorskip("diffpy.structure")
    atoms = [
        diffpy.Atom("Cu", [0, 0, 0], U=np.diag([0.003, 0.006, 0.009]), occupancy=0.7),
        diffpy.Atom("Au", [0, 0, 0], occupancy=0.3),
        diffpy.Atom("Cu", [0.5, 0.5, 0.4], Uisoequiv=0.006),
    ]
    structure = diffpy.Structure(atoms, diffpy.Lattice(3.6, 3.7, 3.8, 90, 90, 90))
    with pytest.warns(UserWarning, match="anisotropic displacements of Cu"):
        _assert_same(as_structure(structure, UISO))
    particle = as_structure(diffpy.Structure([diffpy.Atom("Cu", [0, 0, 0], Uisoequiv=0.006)]))
    assert not particle.periodic


@pytest.mark.parametrize("source", [3, np.eye(3), None])
def test_other_objects_are_refused(source):
    with pytest.raises(ValueError, match="is no structure: give an AtomicStructure, the path"):
        as_structure(source, 0.01)


def _by_ase(path):
    return pytest.importorskip("ase.io").read(path)


def _by_pymatgen(path):
    core = pytest.importorskip("pymatgen.core")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it assumes
        return core.Structure.from_file(path)


def _by_diffpy(path):
    return pytest.importorskip("diffpy.structure").loadStructure(str(path))


@pytest.mark.parametrize("read", [_by_ase, _by_pymatgen, _by_diffpy])
@pytest.mark.parametrize(
    ("rows", "elements"),
    [
        (("Na1 Na1+ 0 0 0 1", "Cl1 Cl1- 0.5 0.5 0.4 1"), ["Cl", "Na"]),
        (("Cu1 Cu0+ 0 0 0 1",), ["Cu"]),
        (("Pd1 Pd 0 0 0 1", "D1 D 0.5 0.5 0.4 1"), ["D", "Pd"]),
        (("Cu1 Cu2+ 0 0 0 0.7", "Au1 Au 0 0 0 0.3", "D1 D 0.5 0.5 0.4 1"), ["Au", "Cu", "D"]),
    ],
)
@pytest.mark.parametrize("scattering", ["xray", "neutron"])
def test_one_crystal_gives_one_pdf_by_every_reader(tmp_path, read, rows, elements, scattering):
    path = tmp_path / "crystal.cif"
    path.write_text(CIF + "\n".join(rows) + "\n")
    parameters = PDFParameters(0.0, 10.0, 0.02, 0.6, 20.0, scattering=scattering)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, expected = as_structure(read(path), 0.007), as_structure(path, 0.007)
    assert sorted(found.elements) == sorted(expected.elements) == elements
    (_, g), (_, h) = calculate_pdf(found, parameters), calculate_pdf(expected, parameters)
    np.testing.assert_allclose(g, h, atol=1e-6 * np.abs(h).max())


def test_vacancies_and_dummies_of_other_packages_are_left_out_and_said():
    ase = pytest.importorskip("ase")
    atoms = ase.Atoms("CuX", [[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True)
    with pytest.warns(UserWarning, match="the structure: sites of vacancies or dummies left out"):
        assert as_structure(atoms, 0.01).elements.tolist() == ["Cu"]


def test_an_isotope_of_ase_is_known_by_its_mass():
    ase = pytest.importorskip("ase")
    atoms = ase.Atoms("Ni2", [[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True)
    atoms.set_masses([57.935, 58.693])
    assert as_structure(atoms, 0.01).elements.tolist() == ["58-Ni", "Ni"]


def test_ase_occupancies_may_have_numbers_as_keys(tmp_path):
    atoms = pytest.importorskip("ase.io").read(_cif(tmp_path / "alloy.cif"))
    atoms.info["occupancy"] = {int(kind): of for kind, of in atoms.info["occupancy"].items()}
    _assert_same(as_structure(atoms, UISO))
