from __future__ import annotations

import numpy as np
import pytest

from benchmarks.studies import relaxation
from defectgen.relaxation.lammps_eam import METALS, is_installed, potential_of, relax_by_eam
from pdfcalc import AtomicStructure

needs_lammps = pytest.mark.skipif(not is_installed(), reason="needs LAMMPS")
OWN = {"Al": (-0.33, -0.96), "Cu": (-0.30, -1.26), "Ni": (-0.18, -1.65), "Fe": (-0.23, -2.95)}


def test_metals_without_a_potential_are_named():
    with pytest.raises(ValueError, match=r"no potential for Hg: there are ones for Al, Au, Cu, Fe"):
        relax_by_eam(AtomicStructure(3 * np.eye(3), [[0, 0, 0]], ["Hg"], [0.01]))


def test_a_metal_that_was_tried_in_an_alloy_alone_is_no_host():
    assert potential_of({"V", "Fe"}).file == "VFe_mm.eam.fs"
    with pytest.raises(ValueError, match=r"no potential for V: there are ones for Al, .* V-Fe"):
        potential_of({"V"})


@needs_lammps
@pytest.mark.slow
@pytest.mark.parametrize("element", list(OWN))
def test_the_field_does_what_a_potential_does(element):
    host, energy = relaxation.at_rest(element)
    vacancy, interstitial = relaxation.single_defects(host, energy)
    volume, first = OWN[element]
    assert vacancy["volume by potential"] == pytest.approx(volume, abs=0.01)
    assert vacancy["first by potential, %"] == pytest.approx(first, abs=0.03)
    assert vacancy["first by field, %"] == pytest.approx(first, abs=0.03)
    # Density functional theory over many metals, arXiv:2505.19341.
    assert vacancy["volume by potential"] == pytest.approx(-0.35, abs=0.2)
    assert interstitial["volume by potential"] == pytest.approx(1.46, abs=0.5)
    energies = relaxation.dumbbells(host, energy)
    lowest = min(energies[name] for name in ("<100>", "<110>", "<111>"))
    assert energies["<110>" if element == "Fe" else "<100>"] == pytest.approx(lowest, abs=2e-3)
    for kind in relaxation.OWN_KINDS:
        agreement = relaxation.many_defects(host, kind, 3)
        if agreement["sets"]:
            assert agreement["rms of the change, field over potential"] == pytest.approx(1, abs=0.1)


@needs_lammps
@pytest.mark.slow
def test_a_crystal_at_rest_stays_and_a_turned_one_does_not_matter():
    host, _ = relaxation.at_rest("Cu")
    structure = host.atoms
    (atoms,) = structure.elements[:1]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    frac = structure.frac + np.array([[0.01, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    parts = [atoms] * 4, structure.uiso
    one = relax_by_eam(AtomicStructure(1.001 * structure.lattice, frac, *parts))
    other = relax_by_eam(AtomicStructure(1.001 * structure.lattice @ turn, frac, *parts))
    assert one.has_converged
    assert other.has_converged
    np.testing.assert_allclose(one.structure.lattice, structure.lattice, atol=1e-4)
    np.testing.assert_allclose(other.structure.lattice, structure.lattice @ turn, atol=1e-4)
    assert one.energy == pytest.approx(other.energy, abs=1e-6)
    assert set(METALS) >= set(OWN)
