"""Classes of displacements between the sites of a periodic supercell.

Two displacements that an isometry of the supercell's lattice maps onto each other have
the same set of image distances. Pairs of atoms need only be counted by class, and only one
member of a class needs its distances. A 5x5x5 fcc supercell with all interstitial sites has
2,000 sites and 91 classes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from pdfcalc.kernels.counts import (
    count_classes,
    first_apart,
    group_keys,
    lowest_keys,
    shortest_images,
)

_BITS = 21
"""Fractions of the supercell are told apart at 2^-21; three of them fit one 63-bit key."""
_MOST_REPEATS = 32
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31)


_WITHOUT_RELATIONS = (math.sqrt(5) - 1) / 2
_STEPS = np.array(list(itertools.product((-1, 0, 1), repeat=3)))


@dataclass(frozen=True, eq=False)
class Sites:
    """Sites of a supercell that is `repeats` unit cells long.

    Args:
        frac: (S, 3) positions in the unit cell.
        repeats: (3,) unit cells along each axis.
        lattice: (3, 3) vectors of the supercell as rows, A.
    """

    frac: np.ndarray
    repeats: np.ndarray
    lattice: np.ndarray

    @property
    def volume(self) -> float:
        """Volume of the supercell, A^3."""
        return float(abs(np.linalg.det(self.lattice)))

    @cached_property
    def _classes(self) -> tuple[np.ndarray, np.ndarray]:
        # The opposite of an isometry is one, too, and is seen to where classes are made.
        operations = lattice_isometries(self.lattice)
        half = operations[: len(operations) // 2]
        return _classify(_generic(self.frac).tobytes(), self.repeats.tobytes(), half.tobytes())

    @property
    def class_of(self) -> np.ndarray:
        """(S, S, n_cells) class of the displacement from a site to one some cells further."""
        return self._classes[0]

    @cached_property
    def vectors(self) -> np.ndarray:
        """(C, 3) one displacement of each class, in fractions of the supercell."""
        places = np.unravel_index(self._classes[1], (*self.class_of.shape[:2], *self.repeats))
        between = self.frac[places[1]] - self.frac[places[0]]
        return (between + np.stack(places[2:], axis=1)) / self.repeats

    @cached_property
    def shortest(self) -> np.ndarray:
        """(C,) shortest image of the displacements of each class, A; zero doesn't count."""
        nearest = self.vectors - np.rint(self.vectors)
        return np.sqrt(shortest_images(nearest, self.lattice))

    def count(self, first: Occupied, second: Occupied) -> np.ndarray:
        """(C,) ordered pairs of each class from the atoms of `first` to those of `second`."""
        counts = np.zeros(len(self.vectors), dtype=np.int64)
        one, other = (first.site, first.cell), (second.site, second.cell)
        count_classes(self.class_of, self.repeats, *one, *other, 1, counts)
        return counts

    def first_apart(self, places: Occupied, too_near: np.ndarray, count: int) -> Occupied:
        """The first `count` places, or as many as there are, of which no two are too near.

        Args:
            too_near: (C,) whether a displacement of each class is too short.
        """
        chosen = first_apart(self.class_of, self.repeats, places.site, places.cell, too_near, count)
        return places[chosen]


@dataclass(frozen=True, eq=False)
class Occupied:
    """Atoms on sites: (N,) index of the site in the unit cell, (N, 3) index of the cell."""

    site: np.ndarray
    cell: np.ndarray

    def __getitem__(self, chosen: slice | np.ndarray) -> Occupied:
        return Occupied(self.site[chosen], self.cell[chosen])


NOWHERE = Occupied(np.empty(0, dtype=np.int64), np.empty((0, 3), dtype=np.int64))
"""No atoms."""


def find_sites(frac: np.ndarray, lattice: np.ndarray) -> tuple[Sites, Occupied]:
    """The fewest sites of a repeated unit cell on which all atoms of a supercell sit.

    Atoms that share no sites come back as they are, each on its own site of a single cell.
    """
    atoms, cell = (np.asarray(values, dtype=float) for values in (frac, lattice))
    return _find_sites(atoms.tobytes(), cell.tobytes())


@lru_cache(maxsize=1)
def _find_sites(frac_bytes: bytes, lattice_bytes: bytes) -> tuple[Sites, Occupied]:
    """By bytes, since a structure is asked about again: by the choice of an engine, and by it."""
    folded = np.frombuffer(frac_bytes).reshape(-1, 3).copy()
    repeats = np.ones(3, dtype=np.int64)
    for axis in range(3):
        trial = folded.copy()
        fewest = len(np.unique(_key(folded)))
        # Where a number of cells shares sites, its prime factors do.
        trials = (folded * np.where(np.arange(3) == axis, prime, 1) for prime in _PRIMES)
        if all(len(np.unique(_key(some))) == fewest for some in trials):
            continue
        for count in range(2, _MOST_REPEATS + 1):
            trial[:, axis] = folded[:, axis] * count
            sites = len(np.unique(_key(trial)))
            if sites < fewest:
                fewest, repeats[axis] = sites, count
        folded[:, axis] *= repeats[axis]
    _, first, site = np.unique(_key(folded), return_index=True, return_inverse=True)
    unit = folded[first] - np.floor(folded[first])
    cell = np.rint(folded - unit[site]).astype(np.int64) % repeats
    lattice = np.frombuffer(lattice_bytes).reshape(3, 3)
    return Sites(unit, repeats, lattice), Occupied(site, cell)


def lattice_isometries(lattice: np.ndarray) -> np.ndarray:
    """(M, 3, 3) integer matrices R for which the fractional vectors v and v @ R are as long.

    Those with elements -1, 0 and 1 are found, which is all of them in the usual cells.
    """
    metric = lattice @ lattice.T
    tolerance = 1e-9 * np.trace(metric)
    products = _STEPS @ metric @ _STEPS.T
    # Images of each cell vector as long as it is, and among them those with its angles.
    images = [np.abs(products.diagonal() - metric[i, i]) < tolerance for i in range(3)]
    a, b, c = (np.flatnonzero(image) for image in images)
    fit = (np.abs(products[np.ix_(a, b)] - metric[0, 1]) < tolerance)[:, :, None]
    fit = fit & (np.abs(products[np.ix_(a, c)] - metric[0, 2]) < tolerance)[:, None, :]
    fit = fit & (np.abs(products[np.ix_(b, c)] - metric[1, 2]) < tolerance)
    i, j, k = np.nonzero(fit)
    return _STEPS[np.stack([a[i], b[j], c[k]], axis=1)]


@lru_cache(maxsize=16)
def _classify(
    frac_bytes: bytes, repeats_bytes: bytes, operations_bytes: bytes
) -> tuple[np.ndarray, np.ndarray]:
    """`Sites.class_of` (S, S, n_cells), and the first of its elements in each class (C,).

    By bytes, since equal sites occur in many hosts.
    """
    frac = np.frombuffer(frac_bytes).reshape(-1, 3)
    repeats = np.frombuffer(repeats_bytes, dtype=np.int64)
    operations = np.frombuffer(operations_bytes, dtype=np.int64).reshape(-1, 3, 3)
    cells = np.indices(tuple(repeats)).reshape(3, -1).T
    between = (frac[None, :] - frac[:, None]).reshape(-1, 3)
    whole_cells = np.floor(np.round(between, 6)).astype(np.int64)
    between = between - whole_cells
    alike, first = group_keys(_key(between))
    vectors = ((between[first, None] + cells) / repeats).reshape(-1, 3)
    group, _ = group_keys(lowest_keys(vectors, operations.astype(float), _BITS))
    cell = np.ravel_multi_index((cells + whole_cells[:, None]).T, repeats, mode="wrap").T
    members = group.reshape(-1, len(cells))[alike[:, None], cell]
    class_of, first = group_keys(members.ravel().astype(np.int64))
    return class_of.reshape(len(frac), len(frac), -1), first


def _generic(frac: np.ndarray) -> np.ndarray:
    """Positions with one free coordinate t put where t is a fixed number without relations.

    What relates the displacements of one structure type is the same for any t, so that hosts which
    differ in t share their classes. Coordinates are multiples of 1/24, or such plus or minus t;
    where they are not, the positions come back as they are.
    """
    multiples = np.rint(24 * frac) / 24
    free = np.abs(frac - multiples) > 1e-6
    if not free.any():
        return multiples
    t = frac[free][0]
    generic = multiples.copy()
    for sign in (1, -1):
        rest = frac - sign * t
        multiple = np.rint(24 * rest) / 24
        matched = free & (np.abs(rest - multiple) < 1e-6)
        generic[matched] = multiple[matched] + sign * _WITHOUT_RELATIONS
        free &= ~matched
    return frac if free.any() else generic


def _key(frac: np.ndarray) -> np.ndarray:
    """(N,) one integer for each fractional vector, the same for vectors a lattice vector apart."""
    whole = np.rint(frac * (1 << _BITS)).astype(np.int64) & ((1 << _BITS) - 1)
    return (whole[:, 0] << 2 * _BITS) | (whole[:, 1] << _BITS) | whole[:, 2]
