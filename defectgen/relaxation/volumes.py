"""By how much a defect makes a crystal larger."""

from __future__ import annotations

import math
from typing import NamedTuple

from defectgen.hosts.elements import atomic_volume


class OwnDefects(NamedTuple):
    """The two defects that need no foreign atom, in atomic volumes of the host.

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


_HYDROGEN = 2.9
"""A^3, in most metals (H. Peisl, in Hydrogen in Metals I, Springer 1978, DOI
10.1007/3540087052_47)."""
_MEASURED = {("C", "Fe", 229): 7.9, ("C", "Fe", 225): 7.1}
"""A^3, by impurity, host and space group: of the cells of martensite (Liu Xiao et al., Phys. Rev. B
52 (1995) 9970) and of austenite (ASM Handbook 4A, volumes of the constituents of steel)."""
_RADII = {"C": 0.76, "N": 0.71, "O": 0.66}
"""Covalent radii, A (B. Cordero et al., Dalton Trans. (2008) 2832, DOI 10.1039/b801115j)."""
_OF_SPHERE, _LEAST = 5.0, 1.0
"""Factor of the volume by which a sphere of that radius is larger than the hole that it is put
into, and the least that comes of it, A^3: rules."""


def own_defects(element: str, space_group: int) -> OwnDefects:
    """Of vacancies and self-interstitials in a metal of some structure."""
    return _OF_METALS.get((element, space_group), MEAN)


def substitution(host: str, impurity: str) -> float:
    """The difference of the elements' volumes (E. Zen, Am. Mineral. 41 (1956) 523), within ends.

    In atomic volumes of the host.
    """
    low, high = _SUBSTITUTION
    return min(max(atomic_volume(impurity) / atomic_volume(host) - 1, low), high)


def interstitial(host: str, impurity: str) -> float:
    """That of self-interstitials times the ratio of the elements' volumes, within ends.

    In atomic volumes of the host; of metals, as `substitution`.
    """
    low, high = _INTERSTITIAL
    ratio = atomic_volume(impurity) / atomic_volume(host)
    return min(max(MEAN.self_interstitial * ratio, low), high)


def light_interstitial(impurity: str, host: str, space_group: int, hole: float) -> float:
    """Of hydrogen, carbon, nitrogen and oxygen between the atoms of a metal, A^3.

    Where it is not measured it is a rule, by the size of the hole. That gives 9.0 and 6.2 for
    carbon in bcc and fcc iron, 15 % more and 12 % less than what is measured, and 1.1 for oxygen in
    titanium, whose volume it hardly changes (P. Ehrlich, Z. anorg. Chem. 247 (1941) 53).

    Args:
        impurity: of `hosts.elements.LIGHT`.
        hole: radius of the largest sphere between the atoms, A, these taken to be as large as half
            the distance of nearest neighbours.
    """
    if impurity == "H":
        return _HYDROGEN
    sphere = 4 / 3 * math.pi * (_RADII[impurity] ** 3 - hole**3)
    return _MEASURED.get((impurity, host, space_group), max(_OF_SPHERE * sphere, _LEAST))
