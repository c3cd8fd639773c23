"""Loops over pairs of atoms; `pdfcalc.pdf.pairs` says what they are for."""

from __future__ import annotations

import math

import numpy as np

from pdfcalc.kernels import SAME_PLACE, compiled


@compiled
def bin_pairs(atoms, starts, n_cells, lattice, columns, periodic, cutoff, levels, moments):
    """Add every pair of atoms within the cutoff, once, to the moments of its bin of distance.

    Args:
        atoms: x, y, z (N,) in A and species (N,), sorted by the cell of a grid they are in.
        starts: (n + 1,) the first atom of each cell of the grid.
        n_cells: (3,) cells along each lattice vector.
        lattice: (3, 3) vectors as rows, A, by which the grid repeats where `periodic`.
        columns: (M, 4) where partners of a cell's atoms may be: cells away along the first two
            vectors, and the least and most cells along the third. Of two opposite directions one;
            the first column is the cell's own, upwards.
        levels: (S, S) the first histogram of each pair of species, -1 for pairs that don't count,
            and (S, S, n) their weights in it and those that follow.
        moments: (L, B, 4) sums in each bin of weight * x^0 .. x^3, x the distance from the middle
            of the bin, with unit bins.
    """
    x, y, z, species = atoms
    na, nb, nc = n_cells
    per_bin = moments.shape[1] / cutoff
    place = np.empty(len(x))
    for a in range(na):
        for b in range(nb):
            for c in range(nc):
                cell = (a * nb + b) * nc + c
                if starts[cell] == starts[cell + 1]:
                    continue
                for m in range(len(columns)):
                    to_a, to_b = a + columns[m, 0], b + columns[m, 1]
                    lowest, highest = c + columns[m, 2], c + columns[m, 3]
                    image_a, image_b = to_a // na, to_b // nb
                    if not periodic:
                        if image_a != 0 or image_b != 0:
                            continue
                        lowest, highest = max(lowest, 0), min(highest, nc - 1)
                    first = ((to_a - image_a * na) * nb + to_b - image_b * nb) * nc
                    for image_c in range(lowest // nc, highest // nc + 1):
                        shift = image_a * lattice[0] + image_b * lattice[1] + image_c * lattice[2]
                        start = starts[first + max(lowest - image_c * nc, 0)]
                        stop = starts[first + min(highest - image_c * nc, nc - 1) + 1]
                        own = m == 0 and image_c == 0
                        for i in range(starts[cell], starts[cell + 1]):
                            begin = i + 1 if own else start
                            dx, dy, dz = x[i] - shift[0], y[i] - shift[1], z[i] - shift[2]
                            xs, ys, zs = x[begin:stop], y[begin:stop], z[begin:stop]
                            for j in range(len(xs)):
                                u, v, w = xs[j] - dx, ys[j] - dy, zs[j] - dz
                                place[j] = math.sqrt(u * u + v * v + w * w) * per_bin
                            _add_moments(
                                place, species[begin:stop], species[i], levels, per_bin, moments
                            )


@compiled
def _add_moments(place, others, one, levels, per_bin, moments):
    first_level, shares = levels[0][one], levels[1][one]
    least, most = SAME_PLACE * per_bin, moments.shape[1]
    for j in range(len(others)):
        other = others[j]
        level = first_level[other]
        if place[j] > least and place[j] < most and level >= 0:
            # Unsigned, since numba lets negative indices wrap at some cost.
            k = np.uint64(place[j])
            x = place[j] - k - 0.5
            for share in range(shares.shape[1]):
                target = moments[np.uint64(level + share), k]
                weight = shares[other, share]
                target[0] += weight
                target[1] += weight * x
                target[2] += weight * x * x
                target[3] += weight * x * x * x
