"""The loop of `place_draws` over rows, orbits and places, compiled for the CPU."""

from __future__ import annotations

import heapq

import numpy as np

from defectgen.point_defects.random_words import random_word
from pdfcalc.kernels import compiled


@compiled
def draw_apart(seeds, counts, sublattices, bounds, taken_with, table_rows, n_places, place):
    """Draw places of rows by rising random key, none too near another; fill place (b, D) with them.

    Args:
        seeds: (b,) uint64.
        counts: (b,) places to draw.
        sublattices: (b, A) of which each row tries one after the other.
        bounds: (b, L + 1) first place of each of a row's sublattices.
        taken_with: (U, P, K) tables as `DefectDraws` has them.
        table_rows: (b,) the table of each row.
        n_places: of each row's host.

    Returns:
        (b,) whether there was no room.
    """
    missing = np.zeros(len(seeds), dtype=np.bool_)
    for row in range(len(seeds)):
        found = 0
        for attempt in range(sublattices.shape[1]):
            sublattice = sublattices[row, attempt]
            start, stop = bounds[row, sublattice], bounds[row, sublattice + 1]
            taken = np.zeros(n_places + 1, dtype=np.bool_)
            # Key and place in one number, so that the lower place is first of equal keys.
            heap = [
                np.int64((random_word(seeds[row], attempt * n_places + p) >> np.uint64(33)) << 32)
                | np.int64(p)
                for p in range(start, stop)
            ]
            heapq.heapify(heap)
            found = 0
            while found < counts[row] and len(heap) > 0:
                chosen = heapq.heappop(heap) & 0xFFFFFFFF
                if taken[chosen]:
                    continue
                place[row, found] = chosen
                found += 1
                for other in taken_with[table_rows[row], chosen]:
                    taken[other] = True
            if found == counts[row]:
                break
        missing[row] = found < counts[row]
    return missing
