from __future__ import annotations

import numpy as np
import pytest
from scipy.special import sici

from defectgen.hosts.library import embedded_library
from defectgen.samples import Resources, Sample, UnusableItem
from defectgen.sources.defects import Defects
from defectgen.stages.thermal import Thermal, waves_of
from hpc.description import RunDescription
from pdfcalc import AtomicStructure

SOURCE = Defects.model_validate({"defects": {"supercell": [4, 4, 4]}})
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def supercell(n: int, a: float = 3.6, uiso: float = 0.006) -> AtomicStructure:
    cells = np.indices((n, n, n)).reshape(3, -1).T
    frac = (FCC[:, None] + cells).reshape(-1, 3) / n
    return AtomicStructure(np.eye(3) * a * n, frac, ["Cu"] * len(frac), [uiso] * len(frac))


def displacements(atoms: AtomicStructure, count: int, stage: Thermal) -> np.ndarray:
    """(count, atoms, 3) A"""
    samples = [Sample((0, "copper", variant), lambda: atoms) for variant in range(count)]
    moved = stage.apply(samples, Resources())
    return np.array([(one.atoms().frac - atoms.frac) @ atoms.lattice for one in moved])


@pytest.mark.parametrize("theta_over_t", [0.0, 1.0, 20.0])
def test_what_is_moved_and_what_is_left_make_the_displacement(theta_over_t):
    atoms, stage = supercell(4), Thermal(theta_over_t=theta_over_t)
    found = (displacements(atoms, 100, stage) ** 2).mean()
    (sample,) = stage.apply([Sample((0, "copper", 0), lambda: atoms)], Resources())
    left = sample.atoms().uiso[0]
    assert found + left == pytest.approx(0.006, rel=0.02)
    assert 0 < left < 0.2 * 0.006


def classical(x: float) -> float:
    return float(sici(x)[0] / x)


def at_zero(x: float) -> float:
    return float(2 * (1 - np.cos(x)) / x**2)


@pytest.mark.parametrize(("theta_over_t", "formula"), [(0.0, classical), (1000.0, at_zero)])
def test_near_atoms_move_together_as_the_formula_says(theta_over_t, formula):
    atoms = supercell(5)
    found = displacements(atoms, 200, Thermal(theta_over_t=theta_over_t))
    difference = atoms.frac - atoms.frac[0]
    distance = np.linalg.norm((difference - np.rint(difference)) @ atoms.lattice, axis=1)
    k = (6 * np.pi**2 * atoms.number_density) ** (1 / 3)
    # Waves longer than the supercell, which move all atoms alike, are left out.
    missing = 1 - 2 * waves_of(atoms.lattice, len(distance), theta_over_t)[1].sum()
    for shell in (3.6 / 2**0.5, 3.6):
        near = np.flatnonzero(abs(distance - shell) < 1e-6)
        together = (found[:, [0]] * found[:, near]).mean() / (found**2).mean()
        expected = (formula(k * shell) - missing) / (1 - missing)
        assert together == pytest.approx(expected, abs=0.05)


def test_atoms_move_by_their_own_displacements():
    atoms = supercell(3)
    uiso = np.where(np.arange(len(atoms.frac)) < 20, 0.024, 0.006)
    mixed = AtomicStructure(atoms.lattice, atoms.frac, atoms.elements, uiso)
    one, other = (displacements(a, 1, Thermal())[0] for a in (atoms, mixed))
    np.testing.assert_allclose(other[:20], 2 * one[:20], atol=3e-8)
    np.testing.assert_allclose(other[20:], one[20:], atol=1e-12)


def test_a_sample_moves_alike_in_any_company_and_samples_differ():
    host = embedded_library()[0]
    every = Thermal().apply(SOURCE.draw(host, 1), Resources())
    (alone,) = Thermal().apply(SOURCE.draw(host, 1)[3:4], Resources())
    np.testing.assert_array_equal(alone.atoms().frac, every[3].atoms().frac)
    assert alone.values == every[3].values
    assert len({sample.values["rms_displacement"] for sample in every}) == len(every)
    assert all(sample.lattice is None for sample in every)


def test_a_particle_is_refused():
    particle = AtomicStructure.finite([[0, 0, 0]], ["Cu"], [0.006])
    with pytest.raises(UnusableItem, match="thermal waves need a crystal"):
        Thermal().apply([Sample((0, "a", 0), lambda: particle)], Resources())


def test_a_description_names_it_after_another_stage():
    stages = [{"name": "strain", "axial": [0, 0.01]}, {"name": "thermal", "theta_over_t": 1.0}]
    description = RunDescription.model_validate({"stage": stages})
    assert [stage.name for stage in description.stages] == ["strain", "thermal"]
    with pytest.raises(ValueError, match="theta_over_t"):
        Thermal(theta_over_t=-1)
