"""Hydrogen, carbon, nitrogen and oxygen in metals: where they sit, how far they vibrate, how large.

They sit between the atoms and not in their places. Sizes and vibrations differ from metal to metal
by a third or so; what stands here is one number an element, and a scatter where it is drawn.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from defectgen.hosts.elements import BOLTZMANN, DALTON, HBAR

_MILLIELECTRONVOLT = 1.602176634e-22


class LightAtom(NamedTuple):
    """One of the elements.

    Args:
        atomic_number, mass: the latter in Da.
        volume: by which one of them makes a metal larger, A^3.
        modes: energies of its local vibrations on sites of such coordination, meV.
        sites: coordination of its usual ones by space group; elsewhere it takes the largest.
    """

    atomic_number: int
    mass: float
    volume: float
    modes: dict[str, float]
    sites: dict[int, str]


_OCTAHEDRAL = dict.fromkeys((225, 229, 194), "octahedral")
LIGHT_ATOMS = {
    "H": LightAtom(
        1,
        1.008,
        2.9,
        {"octahedral": 69.0, "tetrahedral": 140.0},
        {225: "octahedral", 229: "tetrahedral", 194: "tetrahedral"},
    ),
    "C": LightAtom(6, 12.011, 7.4, {"octahedral": 70.0}, _OCTAHEDRAL),
    "N": LightAtom(7, 14.007, 7.4, {"octahedral": 70.0}, _OCTAHEDRAL),
    "O": LightAtom(8, 15.999, 7.4, {"octahedral": 70.0}, _OCTAHEDRAL),
}
"""Sites: of hydrogen Y. Fukai, The Metal-Hydrogen System (Springer 2005), DOI
10.1007/3-540-28883-X; of the others J. D. Fast, Interaction of Metals and Gases (Macmillan 1971).

Volumes: of hydrogen H. Peisl in Hydrogen in Metals I (Springer 1978), DOI 10.1007/3540087052_47; of
carbon the mean of 7.0 in austenite and 7.9 in martensite, by 0.329 and 0.370 A^3 of an atom of iron
for each 1 % by mass (ASM Handbook 4A, 2013). Nitrogen and oxygen are taken to be as large.

Modes: hydrogen in Pd, and about the mean of those in Nb (107 and twice 163; Fukai, as above). For
the others the optical vibrations of carbides of metals, 60 to 75 meV (H. G. Smith and W. Glaeser,
Phys. Rev. Lett. 25 (1970) 1611, DOI 10.1103/PhysRevLett.25.1611): a rule of thumb.
"""


def local_uiso(element: str, space_group: int, temperature: float) -> float:
    """Mean square displacement by local vibrations along one direction, A^2.

    hbar / (2 m omega) coth(hbar omega / 2 k T): that of an oscillator. It comes on top of that of
    the host, whose waves carry the atom along.
    """
    atom = LIGHT_ATOMS[element]
    energy = atom.modes.get(atom.sites.get(space_group, ""), atom.modes["octahedral"])
    joule = energy * _MILLIELECTRONVOLT
    at_rest = 1e20 * HBAR**2 / (2 * atom.mass * DALTON * joule)
    if temperature == 0:
        return at_rest
    return at_rest / math.tanh(joule / (2 * BOLTZMANN * temperature))
