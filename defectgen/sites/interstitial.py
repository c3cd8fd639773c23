"""Interstitial sites of a host: in closed form for common structure types, else searched for.

`defectgen.sites.voids` states what counts as a site and finds the same sites without the table. The
closed forms put a position at equal distances from its four or six nearest atoms; r is c/a.
Body-centred tetragonal (139) runs from bcc (r = 1) to fcc (r = sqrt 2), where its sites join.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from defectgen.hosts.host import Host
from defectgen.samples import UnusableItem
from defectgen.sites.voids import MINIMUM_DISTANCE, Void, find_voids, select_voids
from pdfcalc.crystals.periodic import in_order, wrapped


@dataclass(frozen=True, eq=False)
class InterstitialSite:
    """One symmetry orbit of interstitial positions."""

    label: str
    """as in "octahedral 4b" """
    wyckoff: str
    """multiplicity and letter, as in "4b" """
    multiplicity: int
    coordination: str
    """"octahedral", "tetrahedral" or, as in "8-fold", the number of nearest atoms"""
    frac: np.ndarray
    """(multiplicity, 3) in [0, 1), in the host's conventional cell"""
    distance: float
    """to the nearest atom, A"""


Orbit = tuple[str, np.ndarray, bool]
"""Wyckoff letter, positions (m, 3), and whether symmetry leaves them no free coordinate."""


def interstitial_sites(host: Host, channels: bool = True) -> tuple[InterstitialSite, ...]:
    """Interstitial sites, by multiplicity and then by falling distance to the nearest atom.

    Args:
        channels: whether positions along (0, 0, z) of group 140 are among them, as (0, 0, 1/4), 4a,
            is. The frameworks of Bi-III and Sb-II have the guest atoms of the element itself there
            (M. I. McMahon, O. Degtyareva and R. J. Nelmes, Phys. Rev. Lett. 85 (2000) 4896,
            DOI 10.1103/PhysRevLett.85.4896), so that an atom there is no defect.

    Raises:
        UnusableItem: no position of the host is far enough from its atoms, or all are in channels.
    """
    sites = _all_sites(host)
    if channels or host.space_group != 140:
        return sites
    outside = tuple(site for site in sites if not _is_in_channel(site))
    if not outside:
        raise UnusableItem(
            f"host {host.id}: all its interstitial sites are in the channels of group 140, which "
            "channel_sites = false leaves out; leave this host out as well"
        )
    return outside


def _is_in_channel(site: InterstitialSite) -> bool:
    # Channels are along (0, 0, z) and (1/2, 1/2, z).
    x, y, _ = site.frac.T
    halves = np.stack([x - y, 2 * x])
    return bool(np.allclose(halves, np.rint(halves), rtol=0, atol=1e-4))


def _all_sites(host: Host) -> tuple[InterstitialSite, ...]:
    orbits = tabulated_orbits(host)
    if orbits is None:
        return searched_sites(host)
    voids = select_voids(host.lattice, np.array(host.frac), [orbit[1:] for orbit in orbits])
    letters = {id(positions): letter for letter, positions, _ in orbits}
    return _sites(host, [(letters[id(void.frac)], void) for void in voids])


@lru_cache(maxsize=4096)
def searched_sites(host: Host) -> tuple[InterstitialSite, ...]:
    """As `interstitial_sites`, by the general search and not from the table."""
    return _sites(host, find_voids(host.lattice, host.frac))


def _sites(host: Host, voids: Sequence[tuple[str, Void]]) -> tuple[InterstitialSite, ...]:
    if not voids:
        least = MINIMUM_DISTANCE * host.nearest_neighbour
        raise UnusableItem(
            f"host {host.id}: no interstitial site is {least:.3f} A or more away from every atom; "
            "leave this host out"
        )
    sites = []
    for letter, void in voids:
        void.frac.setflags(write=False)
        wyckoff = f"{len(void.frac)}{letter}"
        label = f"{void.coordination} {wyckoff}"
        sites.append(
            InterstitialSite(
                label, wyckoff, len(void.frac), void.coordination, void.frac, void.distance
            )
        )
    return tuple(sites)


def tabulated_orbits(host: Host) -> list[Orbit] | None:
    """Candidate orbits of the host's structure type, or None where the table does not reach."""
    occupied = " ".join(sorted(set(host.wyckoff)))
    structure_type = _TABLE.get((host.space_group, len(host.frac), occupied))
    orbits = structure_type(host) if structure_type else None
    if orbits is None:
        return None
    return [
        (letter, in_order(wrapped(positions)), is_fixed) for letter, positions, is_fixed in orbits
    ]


def _centred(positions, shifts=((0, 0, 0), (0.5, 0.5, 0.5))) -> np.ndarray:
    """(m, 3) positions of a centred cell, body-centred by default."""
    return (np.array(shifts)[:, None] + np.array(positions)).reshape(-1, 3)


def _fcc(host: Host) -> list[Orbit]:
    faces = ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
    return [
        ("b", _centred([(0.5, 0.5, 0.5)], faces), True),
        ("c", _centred([(0.25, 0.25, 0.25), (0.75, 0.75, 0.75)], faces), True),
    ]


def _bcc(host: Host) -> list[Orbit]:
    quarters = [np.roll((0.5, 0, z), axis) for z in (0.25, 0.75) for axis in range(3)]
    return [
        ("b", _centred([(0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]), True),
        ("d", _centred(quarters), True),
    ]


def _hcp(host: Host) -> list[Orbit] | None:
    r = host.c / host.a
    if not 1.2 < r < 2.2:
        return None
    z = 1 / 2 + 1 / (3 * r**2)
    first, second = (1 / 3, 2 / 3), (2 / 3, 1 / 3)
    tetrahedral = [(*first, z), (*second, z + 0.5), (*second, -z), (*first, 0.5 - z)]
    return [
        ("a", np.array([(0, 0, 0), (0, 0, 0.5)]), True),
        ("f", np.array(tetrahedral), False),
    ]


def _body_centred_tetragonal(host: Host) -> list[Orbit] | None:
    r = host.c / host.a
    if not 0.6 < r < 1.85:
        return None
    orbits = [
        ("b", _centred([(0, 0, 0.5)]), True),
        ("c", _centred([(0, 0.5, 0), (0.5, 0, 0)]), True),
        ("d", _centred([(0, 0.5, 0.25), (0.5, 0, 0.25)]), True),
    ]
    x = r**2 / 4
    if x < 0.5:
        on_edges = [(x, 0.5, 0), (-x, 0.5, 0), (0.5, x, 0), (0.5, -x, 0)]
        orbits.append(("j", _centred(on_edges), False))
    return orbits


def _beta_tin_or_caesium_iv(host: Host) -> list[Orbit] | None:
    r = host.c / host.a
    if 0.35 < r < 1:
        x = 1 / 4 - r**2 / 8
        on_axes = [(u, v, 0.5) for u in (x, -x) for v in (0, 0.5)]
        on_axes += [(u, 0.25 + v, 0.25) for u in (0.25, 0.75) for v in (x, -x)]
        x = 1 / 4 - 3 / 16 * r**2
        pairs = [(u, 0.25 + v) for u in (x, -x) for v in (x, -x)]
        on_diagonals = [(u, v, 0.375) for u, v in pairs] + [(u + 0.5, v, 0.125) for u, v in pairs]
        return [("f", _centred(on_axes), False), ("g", _centred(on_diagonals), False)]
    if 2.4 < r < 6:
        z = 1 / 4 + 1 / (2 * r**2)
        prismatic = [(0, 0.25, z), (0, 0.25, 0.75 - z), (0, 0.75, -z), (0, 0.75, 0.25 + z)]
        return [("e", _centred(prismatic), False)]
    return None


def _bismuth_iii_host(host: Host) -> list[Orbit] | None:
    r = host.c / host.a
    # The atoms at z = 0 with y = x + 1/2 are at x and -x.
    diagonal = [x for x, y, z in host.frac if abs(z) < 1e-4 and abs(abs(y - x) - 0.5) < 1e-4]
    x = min(diagonal, default=0)
    if not (0.3 < r < 0.55 and 0.1 < x < 0.2):
        return None
    u = r**2 / (16 * x)
    v = u / (1 - 4 * x)
    diagonals = [(u, 0.5 - u, 0), (-u, 0.5 + u, 0), (0.5 + u, u, 0), (0.5 - u, -u, 0)]
    quarter = [(u, v, 0), (-v, u, 0), (-u, v, 0.5), (v, u, 0.5)]
    return [
        ("a", _centred([(0, 0, 0.25), (0, 0, 0.75)]), True),
        ("b", _centred([(0, 0.5, 0.25), (0.5, 0, 0.25)]), True),
        ("d", _centred([(0, 0.5, 0), (0.5, 0, 0)]), True),
        ("h", _centred(diagonals), False),
        ("k", _centred([(s * p, s * q, z) for p, q, z in quarter for s in (1, -1)]), False),
    ]


_TABLE = {
    (225, 4, "4a"): _fcc,
    (229, 2, "2a"): _bcc,
    (194, 2, "2c"): _hcp,
    (139, 2, "2a"): _body_centred_tetragonal,
    (141, 4, "4a"): _beta_tin_or_caesium_iv,
    (140, 8, "8h"): _bismuth_iii_host,
}
