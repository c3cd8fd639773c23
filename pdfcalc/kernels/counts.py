"""Loops over places and displacements; `pdfcalc.crystals.displacements` says what they are for."""

from __future__ import annotations

import numpy as np

from pdfcalc.kernels import SAME_PLACE, compiled


@compiled
def _cells_away(repeats, one, other):
    """Number of the cell that is as far from cell 0 as cell `other` is from cell `one`."""
    a, b, c = other[0] - one[0], other[1] - one[1], other[2] - one[2]
    a += repeats[0] * (a < 0)
    b += repeats[1] * (b < 0)
    c += repeats[2] * (c < 0)
    return (a * repeats[1] + b) * repeats[2] + c


@compiled
def count_classes(class_of, repeats, site_1, cell_1, site_2, cell_2, weight, counts):
    """Add `weight` to counts (C,) for each pair from (site_1, cell_1) to (site_2, cell_2)."""
    for i in range(len(site_1)):
        for j in range(len(site_2)):
            away = _cells_away(repeats, cell_1[i], cell_2[j])
            counts[class_of[site_1[i], site_2[j], away]] += weight


@compiled
def _count_within(class_of, repeats, site, cell, weight, counts):
    """As `count_classes` from places to the same places: there and back is of the same class."""
    for i in range(len(site)):
        counts[class_of[site[i], site[i], 0]] += weight
        for j in range(i):
            away = _cells_away(repeats, cell[i], cell[j])
            counts[class_of[site[i], site[j], away]] += 2 * weight


@compiled
def count_around(class_of, n_filled, n_classes):
    """(S, C) filled sites of all cells by class, as each site of the unit cell sees them."""
    counts = np.zeros((len(class_of), n_classes), dtype=np.int64)
    for site in range(len(class_of)):
        for other in range(n_filled):
            for cell in range(class_of.shape[2]):
                counts[site, class_of[site, other, cell]] += 1
    return counts


@compiled
def count_change(
    class_of,
    repeats,
    around,
    gone_site,
    gone_cell,
    own_site,
    own_cell,
    new_site,
    new_cell,
    counts,
):
    """Pairs of a changed crystal by class, added to counts (3, C).

    The first row gets what the sites emptied take from the pairs of the crystal's own atoms, and
    what own atoms put elsewhere bring, the second the pairs of own atoms with new ones, the third
    those of new atoms.

    Args:
        around: (S, C) filled sites of the unchanged crystal that a site sees.
    """
    kept, mixed, new = counts
    for i in range(len(gone_site)):
        for c in range(len(kept)):
            kept[c] -= 2 * around[gone_site[i], c]
    for i in range(len(own_site)):
        for c in range(len(kept)):
            kept[c] += 2 * around[own_site[i], c]
    for i in range(len(new_site)):
        for c in range(len(mixed)):
            mixed[c] += around[new_site[i], c]
    _count_within(class_of, repeats, gone_site, gone_cell, 1, kept)
    _count_within(class_of, repeats, own_site, own_cell, 1, kept)
    count_classes(class_of, repeats, gone_site, gone_cell, own_site, own_cell, -2, kept)
    count_classes(class_of, repeats, gone_site, gone_cell, new_site, new_cell, -1, mixed)
    count_classes(class_of, repeats, own_site, own_cell, new_site, new_cell, 1, mixed)
    _count_within(class_of, repeats, new_site, new_cell, 1, new)


@compiled
def first_apart(class_of, repeats, site, cell, too_near, count):
    """Indices of the first places, at most `count`, of which no two are of a class in too_near."""
    chosen = np.empty(count, dtype=np.int64)
    found = 0
    for i in range(len(site)):
        free = found < count
        for n in range(found):
            j = chosen[n]
            away = _cells_away(repeats, cell[i], cell[j])
            free &= not too_near[class_of[site[i], site[j], away]]
            if not free:
                break
        if free:
            chosen[found] = i
            found += 1
    return chosen[:found]


@compiled
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


@compiled
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


@compiled
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
