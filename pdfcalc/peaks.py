"""Pair distances to the sum of their peaks on the calculation grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pdfcalc.parameters import Grid

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_PRECISION = 3.33e-6
"""A peak ends where it has fallen to this fraction of its height, as in diffpy.srreal."""
_REACH = math.sqrt(-2 * math.log(_PRECISION))
_RESCALE = 1 / math.erf(_REACH / math.sqrt(2))
_MESH = 0.0025
_MANY = 16384
_BLOCK = 512


def peak_width(distance: np.ndarray | float, u_sum: float, qbroad: float) -> np.ndarray:
    """Standard deviation in A of the peak at `distance` for the sum of the two atoms' Uiso."""
    return np.sqrt(u_sum * (1 + (qbroad * np.asarray(distance)) ** 2))


def longest_distance(grid: Grid, u_sum: float, qbroad: float) -> float:
    """The distance in A from which on a peak leaves nothing on the grid."""
    edge = grid.step * (grid.size - 1)
    # Two steps of the fixed point d = edge + reach * width(d); the width grows slowly with d.
    near = edge + _REACH * float(peak_width(edge, u_sum, qbroad))
    return edge + _REACH * float(peak_width(near, u_sum, qbroad))


def sum_peaks(
    distances: np.ndarray, weights: np.ndarray, u_sum: float, qbroad: float, grid: Grid
) -> np.ndarray:
    """Sum of weight / distance * Gaussian(r - distance) over the pairs.

    The Gaussian is cut and rescaled as diffpy.srreal does it. Many distances are first laid on a
    `Mesh`.

    Args:
        distances: (K,) pair distances, A.
        weights: (V, K) weights of the distances in each of V sums.
        u_sum: sum of the two atoms' Uiso, A^2.
        qbroad: broadening by the instrument, 1/A.

    Returns:
        (V, n) on the grid, in units of the weights / A^2.
    """
    if len(distances) > _MANY:
        mesh = Mesh(float(distances.max()), len(weights))
        mesh.add(distances, weights)
        distances, weights = mesh.distances, mesh.weights
    total = np.zeros((len(weights), grid.size))
    for start in range(0, len(distances), _BLOCK):
        block = slice(start, start + _BLOCK)
        total += weights[:, block] @ _gaussians(distances[block], u_sum, qbroad, grid)
    return total


def _gaussians(distances: np.ndarray, u_sum: float, qbroad: float, grid: Grid) -> csr_array:
    """(K, n) sparse matrix with one cut, rescaled Gaussian over its distance in each row."""
    from scipy.sparse import csr_array

    width = peak_width(distances, u_sum, qbroad)
    reach = math.ceil(_REACH * width.max(initial=0.0) / grid.step)
    nearest = np.rint(distances / grid.step).astype(np.int64)
    column = nearest[:, None] + np.arange(-reach, reach + 1)
    x = (column * grid.step - distances[:, None]) / width[:, None]
    height = _RESCALE / (math.sqrt(2 * math.pi) * width * distances)
    keep = (np.abs(x) <= _REACH) & (column >= 0) & (column < grid.size)
    values = np.exp(-0.5 * x[keep] ** 2) * np.broadcast_to(height[:, None], x.shape)[keep]
    row_end = np.concatenate([[0], np.cumsum(keep.sum(axis=1))])
    return csr_array((values, column[keep], row_end), shape=(len(distances), grid.size))


class Mesh:
    """Weights of any number of distances, on the points of a regular mesh.

    Each distance is shared between three points in a way that keeps its first two moments, which
    changes sums of peaks by parts in a million.
    """

    def __init__(self, longest: float, n_rows: int) -> None:
        self._weights = np.zeros((n_rows, round(longest / _MESH) + 2))

    def add(self, distances: np.ndarray, weights: np.ndarray) -> None:
        """Add distances (K,) in A with weights (n_rows, K)."""
        nearest = np.rint(distances / _MESH).astype(np.int64)
        offset = distances / _MESH - nearest
        shares = {-1: offset * (offset - 1) / 2, 0: 1 - offset**2, 1: offset * (offset + 1) / 2}
        size = self._weights.shape[1]
        for total, weight in zip(self._weights, weights, strict=True):
            for shift, share in shares.items():
                total += np.bincount(nearest + shift, weights=weight * share, minlength=size)

    @property
    def _used(self) -> np.ndarray:
        return np.flatnonzero(self._weights.any(axis=0))

    @property
    def distances(self) -> np.ndarray:
        """(M,) points of the mesh that hold anything, A."""
        return self._used * _MESH

    @property
    def weights(self) -> np.ndarray:
        """(n_rows, M) their weights."""
        return self._weights[:, self._used]


def image_distances(
    vectors: np.ndarray, lattice: np.ndarray, cutoff: float, periodic: bool = True
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Lengths of the periodic images of displacement vectors, in blocks of bounded memory.

    Args:
        vectors: (K, 3) displacements, fractional.
        lattice: (3, 3) cell vectors as rows, A.
        cutoff: largest length, A.
        periodic: if not, the only image of a vector is itself.

    Yields:
        The index of a vector and the length of one image of it, each (M,), zero lengths left out.
    """
    if periodic:
        wrapped = (vectors - np.rint(vectors)) @ lattice
        shifts = _lattice_vectors(lattice, cutoff)
    else:
        wrapped, shifts = vectors @ lattice, np.zeros((1, 3))
    shift_squared = np.einsum("ij,ij->i", shifts, shifts)
    block = max(1, 2_000_000 // len(shifts))
    for start in range(0, len(wrapped), block):
        part = wrapped[start : start + block]
        squared = part @ (2 * shifts.T)
        squared += shift_squared
        squared += np.einsum("ij,ij->i", part, part)[:, None]
        index, image = np.nonzero((squared < cutoff**2) & (squared > 1e-8))
        yield index + start, np.sqrt(squared[index, image])


def _lattice_vectors(lattice: np.ndarray, cutoff: float) -> np.ndarray:
    """(M, 3) the lattice vectors from which a wrapped displacement can come within `cutoff`."""
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    most = np.ceil(cutoff / heights + 0.5).astype(int)
    index = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in most), indexing="ij"), axis=-1)
    vectors = index.reshape(-1, 3) @ lattice
    corners = np.stack(np.meshgrid(*([[-0.5, 0.5]] * 3), indexing="ij"), axis=-1).reshape(-1, 3)
    half_diagonal = np.linalg.norm(corners @ lattice, axis=1).max()
    return vectors[np.linalg.norm(vectors, axis=1) <= cutoff + half_diagonal]
