"""Exported atoms come back the same."""

from __future__ import annotations

import numpy as np
import pytest

from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import DefectSettings
from defectgen.point_defects.variants import HostSupercell
from pdfcalc import PDFParameters, calculate_pdf
from pdfcalc.crystals.structure_files import write_structure


@pytest.fixture(scope="module")
def atoms():
    host = next(host for host in embedded_library() if host.space_group == 194)
    supercell = HostSupercell(host, DefectSettings(supercell=(2, 2, 2)))
    return supercell.atoms(supercell.variant(0, 10))


def test_cif_holds_all_that_the_pdf_depends_on(atoms, tmp_path):
    from defectgen.hosts.cif import read_structure

    write_structure(tmp_path / "atoms.cif", atoms)
    back = read_structure(tmp_path / "atoms.cif")
    parameters = PDFParameters(1.5, 15.0, 0.01, 0.6, 23.6, 0.03, 0.01)
    (_, g), (_, h) = calculate_pdf(atoms, parameters), calculate_pdf(back, parameters)
    np.testing.assert_allclose(g, h, atol=1e-5 * np.abs(g).max())


def test_extended_xyz_has_lattice_positions_and_displacements(atoms, tmp_path):
    write_structure(tmp_path / "atoms.xyz", atoms)
    count, comment, *rows = (tmp_path / "atoms.xyz").read_text().splitlines()
    assert int(count) == len(rows) == len(atoms.frac)
    assert comment.startswith('Lattice="')
    assert "Properties=species:S:1:pos:R:3:uiso:R:1" in comment
    lattice = np.array(comment.split('"')[1].split(), dtype=float).reshape(3, 3)
    np.testing.assert_allclose(lattice, atoms.lattice, atol=1e-9)
    table = np.array([row.split()[1:] for row in rows], dtype=float)
    np.testing.assert_allclose(table[:, :3], atoms.frac @ atoms.lattice, atol=1e-9)
    np.testing.assert_allclose(table[:, 3], atoms.uiso, atol=1e-9)


def test_other_endings_are_refused(atoms, tmp_path):
    with pytest.raises(ValueError, match=r"atoms\.pdb: the file's ending must be"):
        write_structure(tmp_path / "atoms.pdb", atoms)
