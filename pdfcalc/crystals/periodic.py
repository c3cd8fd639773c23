"""Points of a lattice: their images, their order, and how near they are to each other."""

from __future__ import annotations

import numpy as np

GRID = 24
"""Positions without free coordinates are multiples of 1/24 in ITA's standard settings."""
_EQUAL = 1e-4
"""Part of a length of the cell by which another may differ and be the same by symmetry."""


def nearest_neighbour(lattice: np.ndarray, frac: np.ndarray) -> float:
    """Distance between nearest atoms of the crystal, A, an atom's own images included."""
    # No arrangement of the same density has its nearest atoms further apart than fcc has.
    closest_packed = (2**0.5 * abs(np.linalg.det(lattice)) / len(frac)) ** (1 / 3)
    images = images_within(lattice, frac, 1.001 * closest_packed)
    difference = (images[:, None] - frac % 1.0) @ lattice
    squared = np.einsum("ijk,ijk->ij", difference, difference)
    return float(np.sqrt(squared[squared > 1e-6].min()))


def images_within(lattice: np.ndarray, frac: np.ndarray, reach: float) -> np.ndarray:
    """(n, 3) fractional coordinates of all atoms within `reach`, A, of the cell."""
    margin = reach * np.linalg.norm(np.linalg.inv(lattice), axis=0)
    count = np.ceil(margin).astype(int)
    cells = np.indices(2 * count + 1).reshape(3, -1).T - count
    atoms = (frac % 1.0 + cells[:, None]).reshape(-1, 3)
    return atoms[np.all((atoms > -margin) & (atoms < 1 + margin), axis=1)]


def wrapped(frac: np.ndarray) -> np.ndarray:
    """Coordinates in [0, 1), those within 1e-6 of a multiple of 1/24 made exact."""
    nearest = np.rint(frac * GRID) / GRID
    return np.where(np.abs(frac - nearest) < 1e-6, nearest, frac) % 1.0


def in_order(frac: np.ndarray) -> np.ndarray:
    """Positions in lexicographic order, rounding errors aside."""
    return frac[np.lexsort(frac.round(6).T[::-1])]


def equal_lengths(lengths: np.ndarray) -> dict[str, list[int]]:
    """Axes of the cell by the name of the first of those that are equally long."""
    groups: dict[str, list[int]] = {}
    for axis, length in enumerate(lengths):
        for axes in groups.values():
            if abs(lengths[axes[0]] - length) < _EQUAL * length:
                axes.append(axis)
                break
        else:
            groups["abc"[axis]] = [axis]
    return groups
