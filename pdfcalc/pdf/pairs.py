"""The pairs engine: every pair of atoms by itself, for atoms anywhere.

Pairs are found through a grid of cells, so that time grows with the number of atoms, and are not
kept: each adds to the moments of a bin of distance, from which its pairs are shared between the
points around the bin (Lagrange's cubic) as if each had been shared by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.kernels.pairs import bin_pairs
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.pdf.peaks import longest_distance, sum_peaks
from pdfcalc.pdf.species import Species, SpeciesPair

_BIN = 0.005
"""A; cubic shares over it change peaks that an instrument can see by parts in a million."""
_CELL = 6.0
"""Width of the cells in which partners are looked for, A."""
_MOST_SUMS = 64
"""Different sums of Uiso that are kept apart; of more, peaks are interpolated between so many."""
_NODES = np.array([-1.5, -0.5, 0.5, 1.5])
_CUBIC = np.linalg.inv(np.vander(_NODES, increasing=True)).T
"""(4, 4) share of each of four points in a weight, as a polynomial of its place between them."""


def pair_peaks(
    structure: AtomicStructure, pairs: Sequence[SpeciesPair], parameters: PDFParameters
) -> np.ndarray:
    """(n,) sum of weight / d * Gaussian over the pairs of atoms, on the extended grid."""
    grid = parameters.extended_grid
    u_sums, levels = _levels(pairs)
    longest = longest_distance(grid, u_sums[-1], parameters)
    moments = np.zeros((len(u_sums), int(np.ceil(longest / _BIN)), 4))
    cutoff = _BIN * moments.shape[1]
    atoms, starts, n_cells, lattice = _sorted_atoms(structure, pairs)
    columns = _columns(lattice / n_cells[:, None], cutoff)
    bin_pairs(atoms, starts, n_cells, lattice, columns, structure.periodic, cutoff, levels, moments)
    shares = moments @ _CUBIC.T
    points = np.zeros((moments.shape[1] + len(_NODES) - 1, len(u_sums)))
    for node in range(len(_NODES)):
        points[node : node + moments.shape[1]] += shares[:, :, node].T
    used = np.flatnonzero(points.any(axis=1))
    return sum_peaks((used - 1) * _BIN, points[used], u_sums, grid, parameters).sum(axis=0)


def _levels(pairs: Sequence[SpeciesPair]) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
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
    first_level = np.full((len(numbers), len(numbers)), -1)
    level_shares = np.zeros((len(numbers), len(numbers), shares.shape[1]))
    for one, other in ((first, second), (second, first)):
        first_level[one, other] = level
        level_shares[one, other] = weights[:, None] * shares
    return sums, (first_level, level_shares)


def _kinds(pairs: Sequence[SpeciesPair]) -> list[Species]:
    """The species that occur in pairs."""
    kinds = {id(kind): kind for pair in pairs for kind in (pair.first, pair.second)}
    return list(kinds.values())


def _sorted_atoms(
    structure: AtomicStructure, pairs: Sequence[SpeciesPair]
) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray, np.ndarray]:
    """The atoms of the pairs, sorted by the cell of a grid they are in.

    Returns:
        x, y, z in A and species, (N,) each, the first atom of each cell and the number of atoms
        (n + 1,), cells along each axis (3,), and the vectors (3, 3) that the grid spans.
    """
    kinds = _kinds(pairs)
    chosen = np.concatenate([kind.atoms for kind in kinds])
    species = np.repeat(np.arange(len(kinds)), [len(kind.atoms) for kind in kinds])
    frac, lattice = structure.frac[chosen], structure.lattice
    if structure.periodic:
        frac = frac - np.floor(frac)
    else:
        positions = frac @ lattice
        lattice = np.diag(np.ptp(positions, axis=0) + _CELL)
        frac = (positions - positions.min(axis=0)) / np.diag(lattice)
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    n_cells = np.maximum(1, heights / _CELL).astype(int)
    in_cell = np.minimum((frac * n_cells).astype(int), n_cells - 1)
    cell = np.ravel_multi_index(tuple(in_cell.T), tuple(n_cells))
    order = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[order], np.arange(n_cells.prod() + 1))
    x, y, z = np.ascontiguousarray((frac[order] @ lattice).T)
    return (x, y, z, species[order]), starts, n_cells, lattice


def _columns(cell: np.ndarray, cutoff: float) -> np.ndarray:
    """(M, 4) cells in which partners may be, as `bin_pairs` takes them; `cell` (3, 3) spans one."""
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    most = np.ceil(cutoff / heights).astype(int) + 1
    away = np.indices(2 * most + 1).reshape(3, -1).T - most
    # No two points of cells so far apart are nearer: by layers, and by the cells' diagonal.
    diagonals = np.array(list(itertools.product((-1, 1), repeat=3))) @ cell
    by_layers = ((np.abs(away) - 1) * heights).max(axis=1)
    by_diagonal = np.linalg.norm(away @ cell, axis=1) - np.linalg.norm(diagonals, axis=1).max()
    away = away[np.maximum(by_layers, by_diagonal) < cutoff]
    columns, member = np.unique(away[:, :2], axis=0, return_inverse=True)
    highest = np.zeros(len(columns), dtype=int)
    np.maximum.at(highest, member.ravel(), away[:, 2])
    lowest = np.zeros(len(columns), dtype=int)
    np.minimum.at(lowest, member.ravel(), away[:, 2])
    middle = len(columns) // 2
    lowest[middle] = 0
    return np.column_stack([columns, lowest, highest])[middle:]
