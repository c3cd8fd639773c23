"""The compiled inner loops of both engines.

Plain loops over plain arrays, compiled by numba at their first use and kept on disk for the next
process. What they compute is said where they are called: `pdfcalc.displacements`, `pdfcalc.peaks`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

STENCIL = 8
"""Mesh points between which a distance is shared."""
_BELOW = STENCIL // 2 - 1
SAME_PLACE = 0.01
"""Atoms nearer than this, in A, share a site and make no pair."""
MARGIN = 8
"""Mesh points below distance 0, even and enough for the shares of the shortest distances."""


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function at its first call, and keep the result where that is possible."""
    try:
        return njit(cache=True)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's can be written to.
        return njit(function)


@_compiled
def count_classes(class_of, repeats, site_1, cell_1, site_2, cell_2, weight, counts):
    """Add `weight` to counts (C,) for each pair from (site_1, cell_1) to (site_2, cell_2)."""
    n_b, n_c = repeats[1], repeats[2]
    for i in range(len(site_1)):
        for j in range(len(site_2)):
            a = cell_2[j, 0] - cell_1[i, 0]
            b = cell_2[j, 1] - cell_1[i, 1]
            c = cell_2[j, 2] - cell_1[i, 2]
            a += repeats[0] * (a < 0)
            b += n_b * (b < 0)
            c += n_c * (c < 0)
            counts[class_of[site_1[i], site_2[j], (a * n_b + b) * n_c + c]] += weight


@_compiled
def count_around(class_of, n_filled, n_classes):
    """(S, C) filled sites of all cells by class, as each site of the unit cell sees them."""
    counts = np.zeros((len(class_of), n_classes), dtype=np.int64)
    for site in range(len(class_of)):
        for other in range(n_filled):
            for cell in range(class_of.shape[2]):
                counts[site, class_of[site, other, cell]] += 1
    return counts


@_compiled
def count_change(class_of, repeats, around, gone_site, gone_cell, new_site, new_cell, counts):
    """Pairs of a changed crystal by class, added to counts (3, C).

    The first row gets what the sites emptied take from the pairs of the filled sites, the second
    the pairs of filled sites that are left with new atoms, the third those of new atoms.

    Args:
        around: (S, C) filled sites of the unchanged crystal that a site sees.
    """
    kept, mixed, new = counts
    for i in range(len(gone_site)):
        for c in range(len(kept)):
            kept[c] -= 2 * around[gone_site[i], c]
    for i in range(len(new_site)):
        for c in range(len(mixed)):
            mixed[c] += around[new_site[i], c]
    count_classes(class_of, repeats, gone_site, gone_cell, gone_site, gone_cell, 1, kept)
    count_classes(class_of, repeats, gone_site, gone_cell, new_site, new_cell, -1, mixed)
    count_classes(class_of, repeats, new_site, new_cell, new_site, new_cell, 1, new)


@_compiled
def first_apart(class_of, repeats, site, cell, too_near, count):
    """Indices of the first places, at most `count`, of which no two are of a class in too_near."""
    chosen = np.empty(count, dtype=np.int64)
    found, n_b, n_c = 0, repeats[1], repeats[2]
    for i in range(len(site)):
        free = found < count
        for n in range(found):
            j = chosen[n]
            a = (cell[j, 0] - cell[i, 0]) % repeats[0]
            b = (cell[j, 1] - cell[i, 1]) % n_b
            c = (cell[j, 2] - cell[i, 2]) % n_c
            free &= not too_near[class_of[site[i], site[j], (a * n_b + b) * n_c + c]]
            if not free:
                break
        if free:
            chosen[found] = i
            found += 1
    return chosen[:found]


@_compiled
def shortest_images(vectors, lattice):
    """(N,) squared length of the shortest periodic image of vectors (N, 3), zero left out.

    Args:
        vectors: fractional, from -1/2 to 1/2; of the images those one cell away are looked at.
    """
    shortest = np.full(len(vectors), np.inf)
    for n in range(len(vectors)):
        for image in range(27):
            a = vectors[n, 0] + image // 9 - 1
            b = vectors[n, 1] + image // 3 % 3 - 1
            c = vectors[n, 2] + image % 3 - 1
            squared = 0.0
            for axis in range(3):
                x = a * lattice[0, axis] + b * lattice[1, axis] + c * lattice[2, axis]
                squared += x * x
            if squared > SAME_PLACE**2:
                shortest[n] = min(shortest[n], squared)
    return shortest


@_compiled
def lowest_keys(vectors, operations, bits):
    """(N,) the lowest key among the images of fractional vectors and their opposites."""
    whole, mask = float(1 << bits), (1 << bits) - 1
    lowest = np.empty(len(vectors), dtype=np.int64)
    for n in range(len(vectors)):
        x, y, z = vectors[n]
        best = np.int64(0x7FFFFFFFFFFFFFFF)
        for m in range(len(operations)):
            key, opposite = np.int64(0), np.int64(0)
            for axis in range(3):
                o = operations[m, :, axis]
                v = np.int64(np.rint((x * o[0] + y * o[1] + z * o[2]) * whole))
                key = (key << bits) | (v & mask)
                opposite = (opposite << bits) | (-v & mask)
            best = min(best, key, opposite)
        lowest[n] = best
    return lowest


@_compiled
def _share(x, weight, shares):
    """Shares of a weight in the mesh points around it (Lagrange), x of a step past one of them."""
    a, b, c, d = x + 3, x + 2, x + 1, x
    e, f, g, h = x - 1, x - 2, x - 3, x - 4
    ab, cd, ef, gh = a * b, c * d, e * f, g * h
    low, high = weight * ab * cd, weight * ef * gh
    shares[0] = b * cd * high / -5040
    shares[1] = a * cd * high / 720
    shares[2] = ab * d * high / -240
    shares[3] = ab * c * high / 144
    shares[4] = low * f * gh / -144
    shares[5] = low * e * gh / 240
    shares[6] = low * ef * h / -720
    shares[7] = low * ef * g / 5040


@_compiled
def sum_groups(group, member, weights, n_groups):
    """(G, V) sums of weights (C, V): entry e adds row member[e] to group[e]."""
    sums = np.zeros((n_groups, weights.shape[1]))
    for e in range(len(group)):
        target, source = sums[group[e]], weights[member[e]]
        for column in range(len(source)):
            target[column] += source[column]
    return sums


@_compiled
def spread(distances, weights, step, mesh):
    """Add weights (K, V) / distance to mesh (M, V), of which point MARGIN is at distance 0."""
    shares = np.empty(STENCIL)
    for k in range(len(distances)):
        position = distances[k] / step
        below = int(position)
        start = MARGIN + below - _BELOW
        _share(position - below, 1 / distances[k], shares)
        source = weights[k]
        for s in range(STENCIL):
            share, target = shares[s], mesh[start + s]
            for column in range(len(source)):
                target[column] += share * source[column]


@_compiled
def mesh_shares(distances, step):
    """(K,) first mesh point and (K, STENCIL) shares over distance, as `spread` adds them."""
    first, shares = np.empty(len(distances), np.int64), np.empty((len(distances), STENCIL))
    for k in range(len(distances)):
        position = distances[k] / step
        below = int(position)
        first[k] = MARGIN + below - _BELOW
        _share(position - below, 1 / distances[k], shares[k])
    return first, shares


@_compiled
def image_distances(vectors, lattice, most, cutoff, diagonal):
    """Index of the vector and squared length of each image of vectors (C, 3) within the cutoff.

    Args:
        vectors: in A, with fractional coordinates from -1/2 to 1/2.
        lattice: (3, 3) cell vectors as rows, A.
        most: (3,) largest number of cells along each axis by which an image can be away.
        diagonal: longest diagonal of the cell, A.
    """
    shifts = np.empty(((2 * most[0] + 1) * (2 * most[1] + 1) * (2 * most[2] + 1), 3))
    farthest = cutoff + 0.5 * diagonal
    n_shifts = 0
    for a in range(-most[0], most[0] + 1):
        for b in range(-most[1], most[1] + 1):
            for c in range(-most[2], most[2] + 1):
                squared = 0.0
                for axis in range(3):
                    x = a * lattice[0, axis] + b * lattice[1, axis] + c * lattice[2, axis]
                    shifts[n_shifts, axis] = x
                    squared += x * x
                n_shifts += squared <= farthest * farthest
    member, squares = np.empty(1024, dtype=np.int32), np.empty(1024)
    count = 0
    for n in range(len(vectors)):
        if count + n_shifts > len(squares):
            room = 2 * len(squares) + n_shifts
            member, squares = _resized(member, room), _resized(squares, room)
        x, y, z = vectors[n]
        for image in range(n_shifts):
            dx, dy, dz = x + shifts[image, 0], y + shifts[image, 1], z + shifts[image, 2]
            squared = dx * dx + dy * dy + dz * dz
            member[count], squares[count] = n, squared
            # An image that doesn't count is overwritten by the next one.
            count += (squared < cutoff * cutoff) & (squared > SAME_PLACE**2)
    return member[:count], squares[:count]


@_compiled
def _resized(array, size):
    larger = np.empty(size, dtype=array.dtype)
    # An assignment of slices would take a second to compile.
    for n in range(len(array)):
        larger[n] = array[n]
    return larger


@_compiled
def group_keys(keys):
    """The group (N,) of each of N integers, equal ones together, and the first of each group.

    Groups are numbered as they come up. A hash table with linear probing, which for the few
    thousand keys of a crystal takes a tenth of the time of sorting them.
    """
    size = 16
    while size < 2 * len(keys):
        size *= 2
    slots = np.full(size, -1, dtype=np.int32)
    group, first = np.empty(len(keys), dtype=np.int32), np.empty(len(keys), dtype=np.int32)
    count = 0
    for n in range(len(keys)):
        scattered = np.uint64(keys[n]) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)
        slot = scattered % np.uint64(size)
        while slots[slot] >= 0 and keys[first[slots[slot]]] != keys[n]:
            slot = (slot + np.uint64(1)) % np.uint64(size)
        if slots[slot] < 0:
            slots[slot], first[count] = count, n
            count += 1
        group[n] = slots[slot]
    return group, first[:count]


@_compiled
def _power(base, exponent, result, square):
    """result = base ** exponent, elementwise; `square` is scratch."""
    for j in range(len(base)):
        result[j] = 1.0
        square[j] = base[j]
    while exponent > 0:
        if exponent & 1:
            for j in range(len(base)):
                result[j] *= square[j]
        exponent >>= 1
        if exponent > 0:
            for j in range(len(base)):
                square[j] *= square[j]


@_compiled
def coarsen(mesh):
    """Weights on a mesh (M, V), of which the first MARGIN points lie below 0, at twice the step.

    Every other point is kept, and those between are shared as distances are.
    """
    shares = np.empty(STENCIL)
    _share(0.5, 1.0, shares)
    coarse = np.zeros((len(mesh) // 2 + 2 * MARGIN, mesh.shape[1]))
    first = MARGIN - MARGIN // 2
    for m in range(0, len(mesh), 2):
        target = coarse[first + m // 2]
        for column in range(mesh.shape[1]):
            target[column] += mesh[m, column]
    for m in range(1, len(mesh), 2):
        for s in range(STENCIL):
            share, target = shares[s], coarse[first + m // 2 - _BELOW + s]
            for column in range(mesh.shape[1]):
                target[column] += share * mesh[m, column]
    return coarse


@_compiled
def sum_gaussians(mesh, u_sums, stretch, step, k, size, reach, scale):
    """Sums of the Gaussians of weights on a mesh, at samples `k` mesh steps apart from 0.

    Args:
        mesh: (M, V) weights; the first MARGIN points lie below 0.
        u_sums: (V,) variance of the Gaussians of each sum where stretch is 1, rising.
        stretch: (M,) variance at each mesh point over u_sums.
        step: of the mesh.
        size: number of samples.
        reach: how far a Gaussian reaches over the square root of u_sum.
        scale: integral of each Gaussian.

    Returns:
        (V, size)
    """
    n_rows = len(u_sums)
    margin = -(-MARGIN // k)
    n_places = max(margin + size, margin + (len(mesh) - MARGIN) // k + 1)
    # The points at each place between two samples side by side.
    weights, stretches = np.zeros((n_rows, k, n_places)), np.ones((k, n_places))
    for phase in range(k):
        shift = MARGIN - margin * k + phase
        for j in range(max(0, -(shift // k)), min(n_places, (len(mesh) - 1 - shift) // k + 1)):
            stretches[phase, j] = stretch[k * j + shift]
            for row in range(n_rows):
                weights[row, phase, j] = mesh[k * j + shift, row]
    pad = math.ceil(reach * math.sqrt(u_sums[n_rows - 1]) / (k * step))
    total = np.zeros((n_rows, n_places + 2 * pad))
    stop = 0
    while stop < n_rows:
        start = stop
        while stop < n_rows and u_sums[stop] == u_sums[start]:
            stop += 1
        u_sum = u_sums[start]
        n_steps = math.ceil(reach * math.sqrt(u_sum) / (k * step))
        rows, sums = weights[start:stop], total[start:stop]
        _add_gaussians(rows, u_sum, stretches, step, n_steps, scale, pad, sums)
    return total[:, pad + margin : pad + margin + size]


@_compiled
def _add_gaussians(weights, u_sum, stretch, step, n_steps, scale, pad, total):
    """Add Gaussians of variance u_sum * stretch (k, J) to total (V, pad + J + pad).

    The values of a Gaussian at equal steps follow from two ratios: v *= q, q *= c.
    """
    n_rows, k, size = weights.shape
    exponent, first_decay, decay = np.empty(size), np.empty(size), np.empty(size)
    whole, part, scratch = np.empty(size), np.empty(size), np.empty(size)
    height, change = np.empty(size), np.empty(size)
    value, ratio = np.empty(size), np.empty(size)
    for phase in range(k):
        # The Gaussian one mesh step from its peak. It hardly differs between neighbours on the
        # mesh, so that a short series does for all but the first phase.
        for j in range(size):
            x = 0.5 * step * step / (u_sum * stretch[phase, j])
            if phase == 0:
                exponent[j], first_decay[j] = x, math.exp(-x)
            d = x - exponent[j]
            decay[j] = first_decay[j] * (1 - d * (1 - d / 2 * (1 - d / 3 * (1 - d / 4))))
        _power(decay, k * k, whole, scratch)
        for j in range(size):
            height[j] = scale / math.sqrt(2 * math.pi * (u_sum * stretch[phase, j]))
            change[j] = whole[j] * whole[j]
        for side in range(2):
            # First the samples at or below the peak, then those above: how many mesh steps away.
            away = phase if side == 0 else k - phase
            _power(decay, away, part, scratch)
            _power(part, away, value, scratch)
            _power(part, 2 * k, ratio, scratch)
            for j in range(size):
                value[j] *= height[j]
                ratio[j] *= whole[j]
            for t in range(n_steps):
                start = pad - t if side == 0 else pad + 1 + t
                for row in range(n_rows):
                    here, weight = total[row, start : start + size], weights[row, phase]
                    for j in range(size):
                        here[j] += weight[j] * value[j]
                for j in range(size):
                    value[j] *= ratio[j]
                    ratio[j] *= change[j]


@_compiled
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


@_compiled
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
