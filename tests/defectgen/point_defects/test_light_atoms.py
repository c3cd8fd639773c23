"""Hydrogen, carbon, nitrogen and oxygen: only between atoms, on their usual sites."""

from __future__ import annotations

import math

import numpy as np
import pytest

from defectgen.hosts.elements import BOLTZMANN, DALTON, LIGHT, atomic_number, oscillator_uiso
from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import DefectSettings
from defectgen.point_defects.variants import HostSupercell
from defectgen.samples import Resources, UnusableItem
from defectgen.sources.defects import Defects
from defectgen.stages.relaxed import Relaxed
from hpc.observables.pdf import PairDistributionFunction


def host_of(element: str, space_group: int) -> Host:
    return next(
        host
        for host in embedded_library()
        if (host.element, host.space_group) == (element, space_group)
    )


@pytest.mark.parametrize(
    ("element", "space_group", "impurity", "coordination"),
    [
        ("Pd", 225, "H", "octahedral"),
        ("Nb", 229, "H", "tetrahedral"),
        ("Ti", 194, "H", "tetrahedral"),
        ("Fe", 229, "C", "octahedral"),
        ("Ni", 225, "N", "octahedral"),
        ("Ti", 194, "O", "octahedral"),
    ],
)
def test_light_atoms_are_on_their_usual_sites(element, space_group, impurity, coordination):
    settings = DefectSettings(
        kinds=("interstitial",), variants_per_kind=20, supercell=(3, 3, 3), impurities=(impurity,)
    )
    supercell = HostSupercell(host_of(element, space_group), settings)
    names = [orbit.coordination for orbit in supercell.orbits for _ in orbit.frac]
    for index in range(1, 21):
        variant = supercell.variant(0, index)
        assert variant.impurity == impurity
        assert not len(variant.change.removed.site)
        on = variant.change.added.site - supercell.crystal.n_filled
        assert on.min() >= 0
        assert {names[at] for at in on.tolist()} == {coordination}


def test_elsewhere_they_take_the_largest_void():
    settings = DefectSettings(kinds=("interstitial",), impurities=("C",))
    supercell = HostSupercell(host_of("In", 139), settings)
    sizes = [orbit.distance for orbit in supercell.orbits for _ in orbit.frac]
    on = supercell.variant(0, 1).change.added.site - supercell.crystal.n_filled
    assert {sizes[at] for at in on.tolist()} == {max(sizes)} != set(sizes)


def test_among_others_they_replace_no_atom():
    settings = DefectSettings(variants_per_kind=30, impurities=("C", "Cu", "H"))
    supercell = HostSupercell(host_of("Ni", 225), settings)
    drawn: dict[str, set[str | None]] = {kind: set() for kind in settings.kinds}
    for index in range(1, settings.n_variants):
        (kind,) = settings.kinds_of(index)
        drawn[kind].add(supercell.variant(0, index).impurity)
    assert drawn["substitution"] == {"Cu"}
    assert drawn["interstitial"] == {"C", "Cu", "H"}


def test_one_metal_may_be_the_only_impurity_but_not_of_itself():
    settings = DefectSettings(impurities=("Cu",))
    assert HostSupercell(host_of("Ni", 225), settings).variant(0, 7).impurity == "Cu"
    with pytest.raises(UnusableItem, match="Cu is the only impurity"):
        HostSupercell(host_of("Cu", 225), settings).variant(0, 7)


@pytest.mark.parametrize(("impurity", "mass"), [("H", 1.008), ("C", 12.011), ("O", 15.999)])
def test_an_oscillator_moves_as_its_springs_let_it(impurity, mass):
    # Far above its energy, kT over the spring's constant; at rest half a quantum.
    omega = 70 * 1.602176634e-22 / 1.054571817e-34
    classical = 1e20 * BOLTZMANN * 1e5 / (mass * DALTON * omega**2)
    assert oscillator_uiso(impurity, 70.0, 1e5) == pytest.approx(classical, rel=1e-3)
    at_rest = 1e20 * 1.054571817e-34 / (2 * mass * DALTON * omega)
    assert oscillator_uiso(impurity, 70.0, 1.0) == pytest.approx(at_rest)


@pytest.mark.parametrize("impurity", LIGHT)
def test_they_vibrate_more_than_the_atoms_around_them(impurity):
    for element, space_group in (("Ni", 225), ("Nb", 229), ("Ti", 194), ("In", 139)):
        host = host_of(element, space_group)
        settings = DefectSettings(kinds=("interstitial",), impurities=(impurity,))
        found = HostSupercell(host, settings).uiso_of(impurity)
        assert 0.001 < found.median - host.uiso < 0.05
        assert found.scatter > 0


def test_hydrogen_in_palladium_moves_as_neutrons_have_it():
    palladium = host_of("Pd", 225)
    settings = DefectSettings(kinds=("interstitial",), impurities=("H",))
    found = HostSupercell(palladium, settings).uiso_of("H")
    local = oscillator_uiso("H", 69.0, palladium.kelvin)
    assert found.median == pytest.approx(palladium.uiso + local)


@pytest.mark.parametrize(("space_group", "volume"), [(229, 7.9), (225, 7.1)])
def test_carbon_swells_iron_by_what_it_does_in_steel(space_group, volume):
    settings = {
        "kinds": ["interstitial"],
        "impurities": ["C"],
        "fraction": [0.02, 0.02],
        "separation": 2.0,
    }
    iron = host_of("Fe", space_group)
    source = Defects.model_validate({"defects": settings})
    samples = Relaxed().apply(source.draw(iron, 0), Resources())
    of_atom = abs(np.linalg.det(iron.lattice)) / len(iron.frac)
    for sample in samples[1:]:
        assert sample.values["impurity"] == atomic_number("C") == 6
        expected = sample.values["concentration"] * volume / of_atom
        assert sample.values["volume_strain"] == pytest.approx(expected, rel=1e-3)
    g = PairDistributionFunction(rmax=6.0, points=40).compute(samples, Resources())["g"]
    assert math.isfinite(g.sum())
