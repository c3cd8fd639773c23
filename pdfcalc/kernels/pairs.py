"""Loops over pairs of atoms; `pdfcalc.pdf.pairs` says what they are for."""

from __future__ import annotations

import math

import numpy as np

from pdfcalc.kernels import compiled

_MOST_COUNTED = 6
"""Sorts of pairs that are counted; of more, the tables would leave the processor's cache."""
_PLACE_BITS = 18
"""Of a place in a bin, as a whole number."""
_SUM_BITS = 40
"""Of the sum of places in a bin; the number of its pairs stands above it."""


@compiled
def bin_pairs(atoms, columns, box, steps, cutoff, sorts, moments):
    """Add every pair of atoms within the cutoff, once, to the moments of its bin of distance.

    Args:
        atoms: x, y, z (N,) in A, by column of a grid across z, and in a column by rising z, their
            species (N,), and (N,) the next atom of another one.
        columns: how many there are along each of two vectors (2,), the first atom of each (n + 1,),
            the radius of a circle around each, A, and how many copies of its atoms each has below
            and above those that pairs are counted of, one on the other; -1 for a particle.
        box: (3, 3) vectors as rows, A, that the columns' grid spans and by which it repeats; the
            third is along z.
        steps: (M, 2) columns away where partners may be, of two opposite ones one; the first is the
            column itself.
        sorts: (S, S) the sort of each pair of species, -1 for pairs that don't count, and of each
            sort the first histogram (T,), and its weights (T, n) in it and those that follow.
        moments: (B + 1, L, 2) sums in each bin up to the cutoff of weight and of weight * x, x the
            distance from the middle of the bin, with unit bins; the last is for all beyond it.
    """
    x, y, z, species, run_stop = atoms
    (na, nb), starts, radius, copies = columns
    sort_of, first_level, shares = sorts
    size, n_levels = moments.shape[:2]
    flat = moments.reshape(-1)
    per_place = (size - 1) / cutoff * (1 << _PLACE_BITS)
    height = box[2, 2]
    place = np.empty(len(x), dtype=np.int64)
    # One addition a pair in place of two, and in whole numbers, in whatever order. Those beyond the
    # cutoff have bins as well, since to add to one bin at once takes turns.
    n_counted = len(shares) if len(shares) <= _MOST_COUNTED else 0
    farthest = int(size * (1 + 2 * radius / cutoff)) + 2
    counts = np.zeros((n_counted, farthest), dtype=np.int64)
    counted = 0
    for column in range(na * nb):
        a, b = column // nb, column % nb
        count = (starts[column + 1] - starts[column]) // (2 * max(copies, 0) + 1)
        begin = starts[column] + max(copies, 0) * count
        for m in range(len(steps)):
            to_a, to_b = a + steps[m, 0], b + steps[m, 1]
            image_a, image_b = to_a // na, to_b // nb
            is_image = image_a != 0 or image_b != 0
            if is_image and copies < 0:
                continue
            partner = (to_a - image_a * na) * nb + to_b - image_b * nb
            low, high = starts[partner], starts[partner + 1]
            shift = image_a * box[0] + image_b * box[1]
            middle = (to_a + 0.5) / na * box[0] + (to_b + 0.5) / nb * box[1]
            first, last = low, low
            for i in range(begin, begin + count):
                across = math.sqrt((x[i] - middle[0]) ** 2 + (y[i] - middle[1]) ** 2) - radius
                if across >= cutoff:
                    continue
                along = math.sqrt(cutoff**2 - max(across, 0.0) ** 2)
                dx, dy, dz = x[i] - shift[0], y[i] - shift[1], z[i] - shift[2]
                if is_image:
                    dz -= math.floor(dz / height) * height
                # The next atom of a column has hardly other partners.
                while first < high and z[first] < dz - along:
                    first += 1
                while first > low and z[first - 1] >= dz - along:
                    first -= 1
                while last < high and z[last] <= dz + along:
                    last += 1
                while last > low and z[last - 1] > dz + along:
                    last -= 1
                start = i + 1 if m == 0 else first
                # Unsigned, since numba lets negative indices wrap at some cost.
                for j in range(last - start):
                    k = np.uint64(start + j)
                    u, v, w = x[k] - dx, y[k] - dy, z[k] - dz
                    place[np.uint64(j)] = np.int64(math.sqrt(u * u + v * v + w * w) * per_place)
                run = start
                while run < last:
                    stop = min(run_stop[run], last)
                    sort = sort_of[species[i], species[run]]
                    if sort >= 0:
                        places = place[run - start : stop - start]
                        if n_counted:
                            _count(places, counts[sort])
                        else:
                            _add(places, shares[sort], first_level[sort], n_levels, flat)
                    run = stop
                counted += last - start
                if n_counted and counted >= 1 << (_SUM_BITS - _PLACE_BITS - 1):
                    _add_counts(counts, shares, first_level, moments)
                    counted = 0
    _add_counts(counts, shares, first_level, moments)


@compiled
def _count(place, counts):
    """Add pairs to the numbers of their bins, and to the sums of their places there."""
    for j in range(len(place)):
        in_bin = place[j] & ((1 << _PLACE_BITS) - 1)
        counts[np.uint64(place[j] >> _PLACE_BITS)] += (1 << _SUM_BITS) + in_bin


@compiled
def _add_counts(counts, shares, first_level, moments):
    """Add what was counted of each sort to the moments, and begin anew."""
    for sort in range(len(counts)):
        for k in range(len(moments)):
            number = counts[sort, k] >> _SUM_BITS
            if not number:
                continue
            places = (counts[sort, k] & ((1 << _SUM_BITS) - 1)) + 0.5 * number
            x = places / (1 << _PLACE_BITS) - 0.5 * number
            counts[sort, k] = 0
            for share in range(shares.shape[1]):
                level = first_level[sort] + share
                moments[k, level, 0] += shares[sort, share] * number
                moments[k, level, 1] += shares[sort, share] * x


@compiled
def _add(place, weights, level, n_levels, flat):
    """Add pairs of like weights in some histograms to the moments of their bins, made flat."""
    last = len(flat) // (2 * n_levels) - 1
    for share in range(len(weights)):
        weight, offset = weights[share], np.uint64(level + share)
        for j in range(len(place)):
            # Unsigned, as above.
            k = np.uint64(min(place[j] >> _PLACE_BITS, last))
            in_bin = place[j] & ((1 << _PLACE_BITS) - 1)
            x = (in_bin + 0.5) / (1 << _PLACE_BITS) - 0.5
            k = np.uint64(2) * (k * np.uint64(n_levels) + offset)
            flat[k] += weight
            flat[k + np.uint64(1)] += weight * x
