"""The pairs engine: every pair of atoms by itself, for atoms anywhere.

Pairs are found through a grid of columns, so that time grows with the number of atoms, and are not
kept: each adds to the moments of a bin of distance, from which its pairs are shared between the
points around the bin (Lagrange's cubic) as if each had been shared by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.kernels import SAME_PLACE
from pdfcalc.kernels.pairs import bin_pairs
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.pdf.peaks import longest_distance, sum_peaks
from pdfcalc.pdf.species import Species, SpeciesPair

_BIN = 0.005
"""A; cubic shares over it change peaks that an instrument can see by parts in a million."""
_PARTS = 5
"""Of a bin. In so small a part two moments tell enough of where its pairs are."""
_COLUMN = 6.0
"""Width of the columns in which partners are looked for, A."""
_MOST_SUMS = 64
"""Different sums of Uiso that are kept apart; of more, peaks are interpolated between so many."""
_NODES = np.array([-1.5, -0.5, 0.5, 1.5])
_CUBIC = np.linalg.inv(np.vander(_NODES, increasing=True)).T
"""(4, 4) share of each of four points in a weight, as a polynomial of its place between them."""


def _moments_of_bins() -> np.ndarray:
    """(2 parts, 4) sums of x^0 .. x^3 over a bin from the number and the sum of x in each part.

    Pairs are taken to lie evenly in their part, but for the sum: x^2 is 1/12 and x^3 0.15 x there.
    """
    middle = (np.arange(_PARTS) + 0.5) / _PARTS - 0.5
    part, ones, none = 1 / _PARTS, np.ones(_PARTS), np.zeros(_PARTS)
    number = [ones, middle, middle**2 + part**2 / 12, middle**3 + middle * part**2 / 4]
    place = [none, part * ones, 2 * part * middle, 3 * part * middle**2 + 0.15 * part**3]
    return np.stack([np.transpose(number), np.transpose(place)], axis=1).reshape(-1, 4)


_OF_BINS = _moments_of_bins()


def pair_peaks(
    structure: AtomicStructure, pairs: Sequence[SpeciesPair], parameters: PDFParameters
) -> np.ndarray:
    """(n,) sum of weight / d * Gaussian over the pairs of atoms, on the extended grid."""
    grid = parameters.extended_grid
    u_sums, sorts = _sorts(pairs)
    longest = longest_distance(grid, u_sums[-1], parameters)
    n_bins = int(np.ceil(longest / _BIN))
    of_parts = np.zeros((n_bins * _PARTS + 1, len(u_sums), 2))
    cutoff = _BIN * n_bins
    bin_pairs(*_in_columns(structure, pairs, cutoff), cutoff, sorts, of_parts)
    of_parts[: round(SAME_PLACE / _BIN * _PARTS)] = 0
    by_bin = of_parts[:-1].reshape(n_bins, _PARTS, len(u_sums), 2).swapaxes(1, 2)
    shares = by_bin.reshape(n_bins, len(u_sums), -1) @ (_OF_BINS @ _CUBIC.T)
    points = np.zeros((n_bins + len(_NODES) - 1, len(u_sums)))
    for node in range(len(_NODES)):
        points[node : node + n_bins] += shares[:, :, node]
    used = np.flatnonzero(points.any(axis=1))
    return sum_peaks((used - 1) * _BIN, points[used], u_sums, grid, parameters).sum(axis=0)


def _sorts(
    pairs: Sequence[SpeciesPair],
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rising sums of Uiso (L,), and which of them each pair of species adds to, and how much.

    The latter as `bin_pairs` takes them: for pairs of atoms of which each is met once.
    """
    numbers = {id(kind): n for n, kind in enumerate(_kinds(pairs))}
    first, second = (
        np.array([numbers[id(kind)] for kind in kinds])
        for kinds in zip(*((pair.first, pair.second) for pair in pairs), strict=True)
    )
    weights = np.array([pair.weight for pair in pairs]) * np.where(first == second, 2.0, 1.0)
    sums, level = np.unique([pair.u_sum for pair in pairs], return_inverse=True)
    shares = np.ones((len(pairs), 1))
    if len(sums) > _MOST_SUMS:
        # The sharper a peak is, the more a little changes it.
        nodes = np.geomspace(sums[0], sums[-1], _MOST_SUMS)
        place = np.log(sums[level] / sums[0]) / np.log(nodes[1] / nodes[0])
        level = np.clip(place.astype(int) - 1, 0, _MOST_SUMS - len(_NODES))
        shares = np.vander(place - level - 1.5, len(_NODES), increasing=True) @ _CUBIC.T
        sums = nodes
    sort_of = np.full((len(numbers), len(numbers)), -1)
    sort_of[first, second] = sort_of[second, first] = np.arange(len(pairs))
    return sums, (sort_of, level, weights[:, None] * shares)


def _kinds(pairs: Sequence[SpeciesPair]) -> list[Species]:
    """The species that occur in pairs."""
    kinds = {id(kind): kind for pair in pairs for kind in (pair.first, pair.second)}
    return list(kinds.values())


def _in_columns(
    structure: AtomicStructure, pairs: Sequence[SpeciesPair], cutoff: float
) -> tuple[tuple[np.ndarray, ...], tuple[Any, ...], np.ndarray, np.ndarray]:
    """The atoms of the pairs by columns along the third cell vector, as `bin_pairs` takes them."""
    kinds = _kinds(pairs)
    chosen = np.concatenate([kind.atoms for kind in kinds])
    species = np.repeat(np.arange(len(kinds)), [len(kind.atoms) for kind in kinds])
    frac, box = structure.frac[chosen], _along_z(structure.lattice)
    if not structure.periodic:
        positions = frac @ structure.lattice
        box = np.diag(np.ptp(positions, axis=0) + _COLUMN)
        frac = (positions - positions.min(axis=0)) / np.diag(box)
    heights = 1 / np.linalg.norm(np.linalg.inv(box), axis=0)
    shape = np.maximum(1, heights[:2] / _COLUMN).astype(int)
    frac = frac - np.floor(frac)
    in_grid = np.minimum((frac[:, :2] * shape).astype(int), shape - 1)
    column = np.ravel_multi_index(tuple(in_grid.T), tuple(shape))
    x, y, z = (frac @ box).T
    copies = -1
    if structure.periodic:
        copies = math.ceil(cutoff / box[2, 2])
        z %= box[2, 2]
        z[z == box[2, 2]] = 0.0  # what was just below 0
    order = np.lexsort([z, column])
    x, y, z, column, species = (values[order] for values in (x, y, z, column, species))
    if structure.periodic:
        layers = np.arange(-copies, copies + 1)
        z = (z + box[2, 2] * layers[:, None]).ravel()
        column = np.tile(column, len(layers))
        order = np.argsort(column, kind="stable")
        x, y, species = (np.tile(values, len(layers))[order] for values in (x, y, species))
        z, column = z[order], column[order]
    ends = np.append(np.flatnonzero(np.diff(species)) + 1, len(species))
    run_stop = ends[np.searchsorted(ends, np.arange(len(species)), side="right")]
    starts = np.searchsorted(column, np.arange(shape.prod() + 1))
    corners = np.array([box[0] / shape[0] + sign * box[1] / shape[1] for sign in (1, -1)])
    radius = float(np.linalg.norm(corners[:, :2], axis=1).max()) / 2
    columns = shape, starts, radius, copies
    steps = _steps(box, shape, cutoff + 2 * radius)
    return (x, y, z, species, run_stop), columns, box, steps


def _along_z(lattice: np.ndarray) -> np.ndarray:
    """The cell turned so that its third vector is along z; both hands are as good."""
    lower = np.linalg.cholesky((lattice @ lattice.T)[::-1, ::-1])
    return lower[::-1, ::-1]


def _steps(box: np.ndarray, shape: np.ndarray, farthest: float) -> np.ndarray:
    """(M, 2) from a column to all within a distance across z, of two opposite ones one."""
    across = box[:2, :2] / shape[:, None]
    most = np.ceil(farthest * np.linalg.norm(np.linalg.inv(across), axis=0)).astype(int)
    away = np.indices(2 * most + 1).reshape(2, -1).T - most
    away = away[len(away) // 2 :]
    return away[np.linalg.norm(away @ across, axis=1) < farthest]
