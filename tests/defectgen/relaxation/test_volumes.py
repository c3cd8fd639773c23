"""By how much light atoms make metals larger."""

from __future__ import annotations

import math

import pytest

from defectgen.hosts.elements import LIGHT
from defectgen.relaxation.volumes import light_interstitial

IRON = 55.845 / 12.011 / 100
"""Carbon atoms for each iron atom and per cent of mass, where they are few."""


def hole(a: float, distance: float, nearest: float) -> float:
    return a * (distance - nearest / 2)


BCC_IRON = hole(2.866, 0.5, math.sqrt(3) / 2)
FCC_IRON = hole(3.573, 0.5, math.sqrt(0.5))


def test_carbon_in_iron_is_that_of_martensite_and_austenite():
    a, c = -0.013 / 2.866, 0.116 / 2.866  # per % of mass
    martensite = (2 * a + c) / IRON * 2.866**3 / 2
    assert light_interstitial("C", "Fe", 229, BCC_IRON) == pytest.approx(martensite, rel=0.02)
    austenite = 0.329 / IRON  # A^3 for each iron atom and % of mass
    assert light_interstitial("C", "Fe", 225, FCC_IRON) == pytest.approx(austenite, rel=0.02)


@pytest.mark.parametrize(("group", "radius"), [(229, BCC_IRON), (225, FCC_IRON)])
def test_the_rule_is_not_far_from_what_is_measured(group, radius):
    measured = light_interstitial("C", "Fe", group, radius)
    assert light_interstitial("C", "X", group, radius) == pytest.approx(measured, rel=0.16)


def test_oxygen_hardly_changes_titanium():
    """1.8 % of c and next to nothing of a at TiO0.42, 17.65 A^3 for each atom."""
    a, c = 2.951, 4.684
    radius = math.hypot(a / math.sqrt(3), c / 4) - math.hypot(a / math.sqrt(3), c / 2) / 2
    assert light_interstitial("O", "Ti", 194, radius) < 2 * 0.018 * 17.65 / 0.42


def test_smaller_holes_and_larger_atoms_take_more_room():
    radii = [0.2, 0.4, 0.6, 0.8, 1.0]
    for impurity in LIGHT[1:]:
        volumes = [light_interstitial(impurity, "X", 225, radius) for radius in radii]
        assert volumes == sorted(volumes, reverse=True)
        assert volumes[0] > volumes[2]
        assert volumes[-1] == 1.0
    small = [light_interstitial(impurity, "X", 225, 0.4) for impurity in ("C", "N", "O")]
    assert small == sorted(small, reverse=True)
    assert {light_interstitial("H", "X", 225, radius) for radius in radii} == {2.9}
