"""Loops over pairs of atoms; `pdfcalc.pdf.pairs` says what they are for."""

from __future__ import annotations

import math

import numpy as np

from pdfcalc.kernels import compiled


@compiled
def bin_pairs(atoms, columns, box, steps, cutoff, levels, moments):
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
        levels: (S, S) the first histogram of each pair of species, -1 for pairs that don't count,
            and (S, S, n) their weights in it and those that follow.
        moments: (B + 1, L, 2) sums in each bin up to the cutoff of weight and of weight * x, x the
            distance from the middle of the bin, with unit bins; the last is for all beyond it.
    """
    x, y, z, species, run_stop = atoms
    (na, nb), starts, radius, copies = columns
    first_level, shares = levels
    size, n_levels = moments.shape[:2]
    flat = moments.reshape(-1)
    per_bin = (size - 1) / cutoff
    height = box[2, 2]
    place = np.empty(len(x))
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
                    distance = math.sqrt(u * u + v * v + w * w)
                    place[np.uint64(j)] = min(distance * per_bin, size - 1.0)
                run = start
                while run < last:
                    stop = min(run_stop[run], last)
                    level = first_level[species[i], species[run]]
                    if level >= 0:
                        weights = shares[species[i], species[run]]
                        places = place[run - start : stop - start]
                        _add(places, weights, level, n_levels, flat)
                    run = stop


@compiled
def _add(place, weights, level, n_levels, flat):
    """Add pairs of like weights in some histograms to the moments of their bins, made flat."""
    for share in range(len(weights)):
        weight, offset = weights[share], np.uint64(level + share)
        for j in range(len(place)):
            at = place[j]
            k = np.uint64(at)
            x = at - k - 0.5
            k = np.uint64(2) * (k * np.uint64(n_levels) + offset)
            flat[k] += weight
            flat[k + np.uint64(1)] += weight * x
