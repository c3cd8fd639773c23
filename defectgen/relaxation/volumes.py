"""By how much a defect makes a crystal larger, in atomic volumes of the host."""

from __future__ import annotations

from typing import NamedTuple

from defectgen.hosts.elements import atomic_volume
from defectgen.hosts.light_atoms import LIGHT_ATOMS


class OwnDefects(NamedTuple):
    """The two defects that need no foreign atom.

    Args:
        vacancy, self_interstitial: relaxation volumes.
        first: displacement of a vacancy's nearest atoms, as a part of their distance; None where it
            is not known.
    """

    vacancy: float
    self_interstitial: float
    first: float | None = None


MEAN = OwnDefects(-0.35, 1.46)
"""Of density functional theory over many metals, arXiv:2505.19341."""
_OF_METALS = {
    ("Al", 225): OwnDefects(-0.33, 1.79, -0.0096),
    ("Au", 225): OwnDefects(-0.40, 1.47, -0.0141),
    ("Cu", 225): OwnDefects(-0.30, 1.84, -0.0126),
    ("Fe", 229): OwnDefects(-0.23, 1.22, -0.0295),
    ("Ni", 225): OwnDefects(-0.18, 1.82, -0.0165),
    ("Pd", 225): OwnDefects(-0.39, 1.51, -0.0156),
    ("Pt", 225): OwnDefects(-0.45, 1.40, -0.0187),
}
"""By element and space group, of embedded-atom potentials (`python -m
benchmarks.studies.relaxation`), where both volumes are within 0.2 and 0.5 of the mean; those of
LAMMPS for Ag, Mg, W and Zr are not."""
_SUBSTITUTION, _INTERSTITIAL = (-0.5, 1.0), (0.3, 2.0)
"""Ends of what impurities are given: beyond them no metal takes the other in."""


def own_defects(element: str, space_group: int) -> OwnDefects:
    """Of vacancies and self-interstitials in a metal of some structure."""
    return _OF_METALS.get((element, space_group), MEAN)


def substitution(host: str, impurity: str) -> float:
    """The difference of the elements' volumes (E. Zen, Am. Mineral. 41 (1956) 523), within ends."""
    low, high = _SUBSTITUTION
    return min(max(atomic_volume(impurity) / atomic_volume(host) - 1, low), high)


def interstitial(host: str, impurity: str) -> float:
    """That of self-interstitials times the ratio of the elements' volumes, within ends.

    Of light atoms their own.
    """
    if impurity in LIGHT_ATOMS:
        return LIGHT_ATOMS[impurity].volume / atomic_volume(host)
    low, high = _INTERSTITIAL
    ratio = atomic_volume(impurity) / atomic_volume(host)
    return min(max(MEAN.self_interstitial * ratio, low), high)
