"""Signatures of arrays: short vectors as far from each other as the arrays are, relatively.

An array of at most `SIGNATURE_SIZE` numbers is its own signature. A longer one is projected by a
matrix of independent normal numbers (Johnson and Lindenstrauss, Contemp. Math. 26, 189, 1984): the
square of a distance is then multiplied by a chi-squared variable of k = 512 degrees of freedom over
k, so that distances have a standard error of 1 / sqrt(2 k) = 3.1 %, and one of 10,000 is wrong by
more than 12 %. Norms have the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

SIGNATURE_SIZE = 512
_READ_AT_ONCE = 64 << 20
"""Bytes of arrays, or a chunk if that is more."""
_TILE = 4096
"""Columns of the projection drawn together, 8 MiB: an image or a volume has too many for all."""
_SEED = 512


def signatures(
    read: Callable[[int, int], np.ndarray], count: int, shape: tuple[int, ...], chunk: int
) -> np.ndarray:
    """(count, k) float32 signatures of arrays that are read some at a time, k at most 512.

    Args:
        read: gives arrays (stop - start, *shape) from start and stop.
        chunk: how many arrays are best read together.
    """
    size = math.prod(shape)
    found = np.empty((count, min(size, SIGNATURE_SIZE)), np.float32)
    step = chunk * max(1, _READ_AT_ONCE // (4 * size * chunk))
    for start in range(0, count, step):
        stop = min(start + step, count)
        flat = read(start, stop).reshape(stop - start, size)
        found[start:stop] = flat if size <= SIGNATURE_SIZE else _project(flat)
    return found


def _project(flat: np.ndarray) -> np.ndarray:
    """(n, 512) of arrays (n, P)."""
    found = np.zeros((len(flat), SIGNATURE_SIZE), np.float32)
    for tile, start in enumerate(range(0, flat.shape[1], _TILE)):
        part = flat[:, start : start + _TILE]
        found += part @ _tile_of_projection(tile)[: part.shape[1]]
    return found


@lru_cache(maxsize=8)
def _tile_of_projection(tile: int) -> np.ndarray:
    """(_TILE, 512) rows of the projection, the same in every process."""
    random = np.random.default_rng((_SEED, tile))
    normal = random.standard_normal((_TILE, SIGNATURE_SIZE), dtype=np.float32)
    return normal / np.float32(math.sqrt(SIGNATURE_SIZE))


def nearest(
    found: np.ndarray, some: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Relative distance |a - b| / |a| of each of `some` (n,) to the nearest of `others`, and that.

    The distances are taken and forgotten in blocks, so there is no matrix of all pairs.

    Args:
        found: (S, k) signatures.

    Returns:
        (n,) distances and (n,) positions in `found`.
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    place, distance = pairwise_distances_argmin_min(found[some], found[others])
    return distance / np.linalg.norm(found[some], axis=1), others[place]
