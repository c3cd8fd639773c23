"""Interstitial sites of any crystal, from its Voronoi vertices and symmetry-fixed positions.

A candidate position is a site when it is

- a local maximum of the distance to the nearest atom: a Voronoi vertex strictly inside the
  polyhedron of the atoms that it touches; or
- a position without free coordinates whose six nearest atoms form an octahedron, compressed or
  elongated by no more than `MAXIMUM_ELONGATION`. The octahedral site of bcc (6b) is of this kind:
  it is a saddle of the distance, so that Voronoi vertices alone miss it.

Sites nearer to an atom than `MINIMUM_DISTANCE` are dropped, and of sites nearer to each other than
`MINIMUM_SEPARATION` the orbit with the fewest positions is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from defectgen.samples import UnusableItem
from pdfcalc.crystals.periodic import GRID, images_within, in_order, nearest_neighbour, wrapped

MINIMUM_DISTANCE = 0.55
"""Least distance of a site to an atom, as a fraction of the distance between nearest atoms.

Between 0.5, the middle of a bond, and 0.577, the octahedral site of bcc."""

MINIMUM_SEPARATION = 0.2
"""Least distance between sites, as a fraction of the distance between nearest atoms.

Below 0.289, which separates the octahedral from the tetrahedral sites of bcc."""

MAXIMUM_ELONGATION = 1.5
"""Largest ratio of the distances within an octahedron; it is 1.414 in bcc."""

SYMMETRY_TOLERANCE = 1e-4
"""A, as spglib's symprec."""

_REACH = 3.0  # of the atoms looked at, in distances between nearest atoms
_OPPOSITE, _ACROSS = np.cos(np.radians([160.0, 65.0]))


@dataclass(frozen=True)
class Void:
    """One symmetry orbit of interstitial positions."""

    coordination: str
    """"octahedral", "tetrahedral" or, as in "8-fold", the number of nearest atoms"""
    frac: np.ndarray
    """(multiplicity, 3) in [0, 1)"""
    distance: float
    """to the nearest atom, A"""


def find_voids(lattice, frac, species=None) -> tuple[tuple[str, Void], ...]:
    """Find the interstitial sites of a crystal.

    Args:
        lattice: (3, 3) cell vectors as rows, A.
        frac: (n, 3) fractional coordinates.
        species: (n,) integers that tell the elements apart; all alike by default.

    Returns:
        (Wyckoff letter, orbit) in the order of `select_voids`; empty where no position passes.
        The letters are those of spglib's standardised cell.

    Raises:
        ValueError: spglib finds no symmetry.
    """
    lattice, frac = np.asarray(lattice, float), np.asarray(frac, float)
    species = np.ones(len(frac), int) if species is None else np.asarray(species, int)
    dataset = _dataset(lattice, frac, species)
    tolerance = 1e-3 * nearest_neighbour(lattice, frac)
    fixed = _fixed_positions(dataset)
    orbits: list[np.ndarray] = []
    for point in np.concatenate([fixed, _voronoi_vertices(lattice, frac)]):
        if all(_distance(lattice, orbit, point).min() > tolerance for orbit in orbits):
            orbits.append(_orbit(lattice, dataset, point, tolerance))
    is_fixed = [_distance(lattice, fixed, orbit[0]).min() < tolerance for orbit in orbits]
    voids = select_voids(lattice, frac, zip(orbits, is_fixed, strict=True))
    return tuple((_letter(lattice, frac, species, void.frac), void) for void in voids)


def select_voids(
    lattice: np.ndarray, frac: np.ndarray, orbits: Iterable[tuple[np.ndarray, bool]]
) -> list[Void]:
    """Keep the orbits that are interstitial sites by the module's criteria.

    Args:
        lattice: (3, 3) cell vectors as rows, A.
        frac: (n, 3) fractional coordinates of the atoms.
        orbits: positions (m, 3) in [0, 1), and whether symmetry leaves them no free coordinate.

    Returns:
        Orbits by multiplicity, then by falling distance, then by position.
    """
    nearest = nearest_neighbour(lattice, frac)
    atoms = images_within(lattice, frac, _REACH * nearest) @ lattice
    voids = []
    for orbit, is_fixed in orbits:
        vectors = atoms - orbit[0] @ lattice
        distance = np.linalg.norm(vectors, axis=1)
        order = np.argsort(distance)[:32]
        vectors, distance = vectors[order], distance[order]
        if distance[0] < MINIMUM_DISTANCE * nearest:
            continue
        octahedral = _is_octahedron(vectors, distance)
        if _is_surrounded(vectors, distance) or (is_fixed and octahedral):
            kind = "octahedral" if octahedral else _count_name(distance)
            voids.append(Void(kind, orbit, float(distance[0])))
    voids.sort(key=lambda v: (len(v.frac), -round(v.distance, 6), v.frac[0].round(6).tolist()))
    kept: list[Void] = []
    for void in voids:
        others = np.concatenate([void.frac[1:], *(other.frac for other in kept)])
        separation = _distance(lattice, others, void.frac[0])
        if np.all(separation > MINIMUM_SEPARATION * nearest):
            kept.append(void)
    return kept


def _is_octahedron(vectors: np.ndarray, distance: np.ndarray) -> bool:
    """Three opposite pairs of atoms (within 20 degrees), across each other (within 25)."""
    if distance[5] > MAXIMUM_ELONGATION * distance[0] or distance[6] < 1.05 * distance[5]:
        return False
    unit = vectors[:6] / distance[:6, None]
    cosine = unit @ unit.T
    opposite, across = cosine < _OPPOSITE, np.abs(cosine) < _ACROSS
    return bool(np.all(opposite.sum(axis=1) == 1) and np.all(across.sum(axis=1) == 4))


def _is_surrounded(vectors: np.ndarray, distance: np.ndarray) -> bool:
    """Whether the position is strictly inside the polyhedron of the atoms that it touches."""
    touching = distance < 1.001 * distance[0]
    unit = vectors[touching] / distance[touching, None]
    if len(unit) < 4:
        return False
    # A way out of the polyhedron, if there is one, is normal to two of the directions.
    first, second = np.triu_indices(len(unit), 1)
    normals = np.cross(unit[first], unit[second])
    normals = normals[np.einsum("ij,ij->i", normals, normals) > 1e-6]
    cosine = normals @ unit.T
    return bool(np.all(cosine.max(axis=1) > 1e-3) and np.all(cosine.min(axis=1) < -1e-3))


def _count_name(distance: np.ndarray) -> str:
    if distance[3] < 1.001 * distance[0] and distance[4] > 1.05 * distance[0]:
        return "tetrahedral"
    return f"{np.count_nonzero(distance < 1.2 * distance[0])}-fold"


def _voronoi_vertices(lattice: np.ndarray, frac: np.ndarray) -> np.ndarray:
    """(n, 3) fractional, of one cell, distinct; exact once the images reach two void radii out."""
    from scipy.spatial import Voronoi, cKDTree

    nearest = nearest_neighbour(lattice, frac)
    reach = _REACH * nearest
    while True:
        atoms = images_within(lattice, frac, reach) @ lattice
        vertices = Voronoi(atoms).vertices @ np.linalg.inv(lattice)
        inside = vertices[np.all((vertices > -1e-6) & (vertices < 1 - 1e-6), axis=1)]
        if len(inside) and 2 * cKDTree(atoms).query(inside @ lattice)[0].max() < reach:
            return _distinct(lattice, inside, 1e-4 * nearest)
        reach *= 1.5


@lru_cache(maxsize=32)
def _standard_fixed_positions(hall_number: int) -> np.ndarray:
    """(n, 3) positions whose site symmetry leaves no coordinate free, in the standard setting."""
    import spglib

    symmetry = spglib.get_symmetry_from_database(hall_number)
    assert symmetry is not None
    shifts = np.rint(symmetry["translations"] * GRID).astype(int)
    grid = np.array(list(product(range(GRID), repeat=3)))
    # The mean of the rotations of a site-symmetry group projects onto the free coordinates.
    free = np.zeros((len(grid), 9), int)
    for rotation, shift in zip(symmetry["rotations"], shifts, strict=True):
        stays = np.all((grid @ rotation.T + shift - grid) % GRID == 0, axis=1)
        free[stays] += rotation.ravel()
    return grid[~free.any(axis=1)] / GRID


def _fixed_positions(dataset) -> np.ndarray:
    """(n, 3) positions without free coordinates, in the crystal's own cell."""
    standard = _standard_fixed_positions(dataset.hall_number)
    to_cell = np.linalg.inv(dataset.transformation_matrix)
    return (standard - dataset.origin_shift) @ to_cell.T


def _dataset(lattice: np.ndarray, frac: np.ndarray, species: np.ndarray):
    import spglib

    cell: Any = (lattice, frac, species)
    dataset = spglib.get_symmetry_dataset(cell, SYMMETRY_TOLERANCE)
    if dataset is None:
        raise UnusableItem("spglib finds no symmetry in the crystal: do atoms overlap?")
    return dataset


def _orbit(lattice: np.ndarray, dataset, point: np.ndarray, tolerance: float) -> np.ndarray:
    """(m, 3) symmetry images of a point in one cell, once it is moved onto its exact position."""
    difference = dataset.rotations @ point + dataset.translations - point
    difference -= np.rint(difference)
    stays = np.linalg.norm(difference @ lattice, axis=1) < tolerance
    point = point + difference[stays].mean(axis=0)
    images = dataset.rotations @ point + dataset.translations
    return in_order(wrapped(_distinct(lattice, images, tolerance)))


def _letter(lattice, frac, species, orbit) -> str:
    """Wyckoff letter of an orbit: that of the same crystal with the orbit filled."""
    filled = np.full(len(orbit), species.max() + 1)
    crystal = np.concatenate([frac, orbit]), np.concatenate([species, filled])
    return _dataset(lattice, *crystal).wyckoffs[len(frac)]


def _distance(lattice: np.ndarray, points: np.ndarray, point: np.ndarray) -> np.ndarray:
    """(n,) periodic distances, A; exact for those well below half the cell."""
    difference = points - point
    return np.linalg.norm((difference - np.rint(difference)) @ lattice, axis=-1)


def _distinct(lattice: np.ndarray, points: np.ndarray, tolerance: float) -> np.ndarray:
    kept = points[:1]
    for point in points[1:]:
        if _distance(lattice, kept, point).min() > tolerance:
            kept = np.concatenate([kept, point[None]])
    return kept
