from __future__ import annotations

import numpy as np
import pytest

from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import DefectSettings
from defectgen.point_defects.variants import HostSupercell
from defectgen.relaxation.elasticity import elastic_constants
from defectgen.relaxation.field import Defect, DisplacementField
from defectgen.relaxation.springs import Bonds, Springs
from defectgen.relaxation.statics import Push, Statics
from pdfcalc.crystals.displacements import lattice_isometries

SMALL = DefectSettings(supercell=(3, 3, 3), fraction=(0.01, 0.2))
NONE = (0, 0, 0)
ORIGIN = np.zeros(3, dtype=np.int64)


def host_of(element: str, space_group: int) -> Host:
    hosts = embedded_library(published_only=True)
    return next(h for h in hosts if (h.element, h.space_group) == (element, space_group))


def field_of(element: str, space_group: int) -> DisplacementField:
    return DisplacementField(HostSupercell(host_of(element, space_group), SMALL).crystal)


@pytest.mark.parametrize(("element", "group"), [("Cu", 225), ("Zn", 194), ("Sn", 141)])
def test_waves_give_what_the_whole_supercell_gives(element, group):
    host = host_of(element, group)
    frac, lattice = np.array(host.frac), host.lattice / host.nearest_neighbour
    repeats = np.array([3, 2, 2])
    springs = Springs.fitted(Bonds.between(frac, lattice), elastic_constants(element, group))
    by_waves = Statics(springs, repeats)
    cells = np.indices(tuple(repeats)).reshape(3, -1).T
    every = ((frac + cells[:, None]) / repeats).reshape(-1, 3)
    whole = Bonds.between(every, lattice * repeats[:, None])
    at_once = Statics(Springs(whole, springs.of_shells, springs.of_sum), np.ones(3, dtype=int))

    rng = np.random.default_rng(0)
    force = rng.normal(size=(3, 3))
    force -= force.mean(axis=0)
    cell, atom = np.array([[0, 0, 0], [1, 0, 1], [2, 1, 0]]), np.array([0, 1, 1])
    dipole = rng.normal(size=6)
    whole_atom = np.ravel_multi_index(tuple(cell.T), tuple(repeats)) * len(frac) + atom
    first, first_strain = by_waves.respond([(Push(cell, atom, force, dipole, 9.0), ORIGIN, 1.0)])
    nowhere = np.zeros((3, 3), dtype=int)
    other, other_strain = at_once.respond(
        [(Push(nowhere, whole_atom, force, dipole, 9.0), ORIGIN, 1.0)]
    )
    np.testing.assert_allclose(first.reshape(-1, 3), other.reshape(-1, 3), atol=1e-9)
    np.testing.assert_allclose(first_strain, other_strain, atol=1e-10)


@pytest.mark.parametrize(("element", "group"), [("Al", 225), ("Fe", 229), ("Ti", 194), ("In", 139)])
def test_the_cell_grows_by_the_volumes(element, group):
    field = field_of(element, group)
    n = 27 * len(host_of(element, group).frac)
    _, strain = field.of([Defect(0, ORIGIN, NONE, -0.3), Defect(1, ORIGIN, NONE, 0.1)])
    assert np.trace(strain) == pytest.approx(-0.2 / n, abs=1e-7)
    for direction in field.dumbbells:
        _, strain = field.of([Defect(0, ORIGIN, direction, 1.2)])
        assert np.trace(strain) == pytest.approx(1.2 / n, rel=1e-4)
        np.testing.assert_array_equal(strain, strain.T)


def test_fields_add_up_and_shift_with_their_defects():
    field = field_of("Cu", 225)
    one, other = Defect(1, np.array([0, 2, 1]), NONE, -0.3), Defect(2, ORIGIN, (0, 0, 1), 1.4)
    (first, strain), (second, other_strain), (both, sum_of) = (
        field.of(defects) for defects in ([one], [other], [one, other])
    )
    np.testing.assert_allclose(both, first + second, atol=1e-7)
    np.testing.assert_allclose(sum_of, strain + other_strain, atol=1e-7)
    shifted, _ = field.of([one._replace(cell=np.array([1, 2, 1]))])
    np.testing.assert_allclose(shifted, np.roll(first, 1, axis=0), atol=1e-7)


def test_a_vacancy_has_the_symmetry_of_its_site():
    host = host_of("Cu", 225)
    displacements, _ = field_of("Cu", 225).of([Defect(0, ORIGIN, NONE, -0.3)])
    cells = np.indices((3, 3, 3)).reshape(3, -1).T
    frac = ((np.array(host.frac) + cells[:, None]) / 3).reshape(-1, 3)
    moved = displacements.reshape(-1, 3)
    for operation in lattice_isometries(host.lattice):
        images = frac @ operation
        difference = images[:, None] - frac
        place = np.abs(difference - np.rint(difference)).sum(axis=2).argmin(axis=1)
        np.testing.assert_allclose(moved[place], moved @ operation, atol=1e-7)


@pytest.mark.parametrize(
    ("element", "group", "published", "within"),
    [
        # First neighbours of a vacancy, part of their distance, as in potentials and DFT.
        ("Al", 225, -0.0096, 0.002),
        ("Cu", 225, -0.0126, 0.002),
        ("Ni", 225, -0.0165, 0.002),
        ("Fe", 229, -0.0295, 0.002),
    ],
)
def test_first_neighbours_of_a_vacancy_come_nearer(element, group, published, within):
    from defectgen.relaxation.volumes import own_defects

    volume, _, first = own_defects(element, group)
    assert first is not None
    host = host_of(element, group)
    supercell = HostSupercell(host, DefectSettings())
    field = DisplacementField(supercell.crystal)
    displacements, strain = field.of([Defect(0, ORIGIN, NONE, volume, first / volume)])
    near = field.nearest(0)
    vectors = (np.array(host.frac)[near.site] + near.cell - np.array(host.frac)[0]) @ host.lattice
    moved = displacements[(*(near.cell % 5).T, near.site)] + vectors @ strain
    part = (moved * vectors).sum(axis=1) / (vectors**2).sum(axis=1)
    np.testing.assert_allclose(part, published, atol=within)


@pytest.mark.parametrize(("element", "group"), [("Na", 229), ("Sn", 141), ("Cs", 229)])
def test_no_defect_pushes_farther_than_it_can(element, group):
    host = host_of(element, group)
    supercell = HostSupercell(host, DefectSettings())
    field = DisplacementField(supercell.crystal)
    for site in range(len(host.frac), len(supercell.crystal.sites.frac)):
        displacements, _ = field.of([Defect(site, ORIGIN, NONE, 2.0)])
        farthest = np.linalg.norm(displacements, axis=-1).max() / host.nearest_neighbour
        assert farthest < 0.27
