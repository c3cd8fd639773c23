"""Where a host's G(r) and F(Q) have what, by its own atoms and by its interstitial sites."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from defectgen.hosts.host import Host
from defectgen.sites.interstitial import interstitial_sites

R_KINDS = ("host shells", "interstitial distances")
Q_KINDS = ("in phase", "out of phase")
BOTH, NEITHER = "both", "neither"
_SAME = 1e-3  # A or 1/A, between distances of one shell and lengths of one reflection
_LEAST_FACTOR = 1e-3  # squared structure factor of an atom, below which there is no reflection


@dataclass(frozen=True)
class Landmarks:
    """Two kinds of features of a host along r or along Q.

    Along r they are the distances of atoms from a host atom and from an interstitial site. Along Q
    they are Bragg reflections: those to which waves from interstitial sites add, averaged over the
    kinds of sites, and those from which they subtract, or to which they don't matter.
    """

    unit: float
    """Distance of nearest neighbours, A, or Q of the first reflection, 1/A."""
    positions: dict[str, np.ndarray]
    """By kind, rising: A or 1/A."""
    inside: dict[str, np.ndarray]
    """By kind, (n,) whether a point of the axis is in such a feature."""

    @property
    def regions(self) -> dict[str, np.ndarray]:
        """(n,) by name: where points are in one kind alone, in both or in neither."""
        (first, a), (second, b) = self.inside.items()
        return {first: a & ~b, second: b & ~a, BOTH: a & b, NEITHER: ~a & ~b}


def landmarks_along_r(host: Host, r: np.ndarray) -> Landmarks:
    """Shells of a host; a point (R,), A, is in one where atoms are denser than on average."""
    own = [np.array(host.frac)]
    sites = [site.frac[:1] for site in interstitial_sites(host)]
    positions, inside = {}, {}
    for kind, groups in zip(R_KINDS, (own, sites), strict=True):
        distances = [_distances(host, centres, r[-1] + 1) for centres in groups]
        positions[kind] = _different(np.concatenate(distances))
        densities = [
            _relative_density(host, d, len(centres), r)
            for d, centres in zip(distances, groups, strict=True)
        ]
        inside[kind] = np.mean(densities, axis=0) > 1
    return Landmarks(float(positions[R_KINDS[0]][0]), positions, inside)


def landmarks_along_q(host: Host, q: np.ndarray, rmax: float) -> Landmarks:
    """Reflections of a host; a point (K,), 1/A, is in one to pi / rmax from its Q."""
    index, length = _reflections(host, q[-1] + math.pi / rmax)
    own = _structure_factor(host.frac, index)
    seen = np.abs(own) ** 2 > _LEAST_FACTOR
    index, length, own = index[seen], length[seen], own[seen]
    ratios = [(_structure_factor(site.frac, index) / own).real for site in interstitial_sites(host)]
    adds = np.mean(ratios, axis=0) > _LEAST_FACTOR
    positions = {
        kind: _different(length[of]) for kind, of in zip(Q_KINDS, (adds, ~adds), strict=True)
    }
    inside = {kind: _near(q, lengths, math.pi / rmax) for kind, lengths in positions.items()}
    return Landmarks(float(length.min()), positions, inside)


def _distances(host: Host, centres: np.ndarray, reach: float) -> np.ndarray:
    """(n,) distances within reach, A, from centres (k, 3), fractional, to atoms elsewhere."""
    from pymatgen.core import Lattice

    lattice = Lattice(host.lattice)
    found = [
        lattice.get_points_in_sphere(host.frac, centre, reach, zip_results=False)[1]
        for centre in lattice.get_cartesian_coords(centres)
    ]
    distance = np.concatenate(found)
    return distance[distance > _SAME]


def _relative_density(host: Host, distance: np.ndarray, centres: int, r: np.ndarray) -> np.ndarray:
    """(R,) density of atoms around a centre over the average, in a crystal with displacements.

    Both ends of a pair move: sigma^2 = 2 Uiso.
    """
    shells, counts = np.unique(distance.round(3), return_counts=True)
    number_density = len(host.frac) / abs(np.linalg.det(host.lattice))
    peaks = np.exp(-((r[:, None] - shells) ** 2) / (4 * host.uiso))
    peaks /= math.sqrt(4 * math.pi * host.uiso)
    expected = centres * 4 * math.pi * shells**2 * number_density
    return peaks @ (counts / expected)


def _reflections(host: Host, highest: float) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) Miller indices up to a Q, the origin left out, and (n,) their Q, 1/A."""
    reciprocal = 2 * math.pi * np.linalg.inv(host.lattice).T
    most = np.floor(highest * np.linalg.norm(host.lattice, axis=1) / (2 * math.pi)).astype(int)
    index = np.indices(2 * most + 1).reshape(3, -1).T - most
    length = np.linalg.norm(index @ reciprocal, axis=1)
    near = (length > _SAME) & (length <= highest)
    return index[near], length[near]


def _structure_factor(frac, index: np.ndarray) -> np.ndarray:
    """(n,) sum of exp(2 pi i h x) over positions (k, 3), by their number."""
    return np.exp(2j * math.pi * index @ np.asarray(frac).T).mean(1)


def _different(values: np.ndarray) -> np.ndarray:
    values = np.sort(values)
    return values[np.diff(values, prepend=-np.inf) > _SAME]


def _near(points: np.ndarray, positions: np.ndarray, reach: float) -> np.ndarray:
    if not len(positions):
        return np.zeros(len(points), bool)
    return np.abs(points[:, None] - positions).min(1) <= reach
