"""Random places in supercells, drawn on a GPU for many of them at once: the places of defects.

Places are drawn one after the other: each time the place with the lowest random key, after which
it and the places too near it are no longer there. That is the order of a shuffled list of
places, without the list. A GPU does it in all rows at once, a CPU row by row with the same keys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from defectgen.hosts.elements import LIGHT
from defectgen.point_defects.cpu_draws import draw_apart
from defectgen.point_defects.random_words import random_words
from defectgen.point_defects.variants import HostSupercell
from pdfcalc.gpu.device import memory_budget

ORBITS = -64
"""Counters of the random words that order kinds of site, this and up; those of places are their
numbers and up."""
_TAKEN = torch.iinfo(torch.int32).max
"""Key of a place that can't be drawn."""
_BYTES_PER_PLACE = 64
"""Memory that the random keys of a place take while they are made."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """Host, kind of site, impurity, number of places and seed of rows, all on the device."""

    host: Tensor
    is_between: Tensor
    impurity: Tensor
    count: Tensor
    seeds: Tensor

    def part(self, chosen: Tensor) -> _Rows:
        return _Rows(*(values[chosen] for values in vars(self).values()))


class PlaceDraws:
    """Hosts prepared for any number of draws of places. A place is site * cells + cell.

    Args:
        supercells: of one `DefectSettings`.
        memory: bytes to take at once; None for what suits the device.

    Raises:
        ValueError: no number of defects of a host gives a fraction in the range.
    """

    def __init__(
        self, supercells: Sequence[HostSupercell], device: torch.device, memory: int | None = None
    ) -> None:
        self.device, self._memory = device, memory
        self._supercells = list(supercells)
        self._repeats = supercells[0].settings.supercell
        self._n_cells = int(np.prod(self._repeats))
        self._most = np.array([supercell.most_defects for supercell in supercells])
        bounds, neighbours = zip(*map(_sublattices, supercells), strict=True)
        # The last sublattice has no places, so that nothing is drawn there.
        self._bounds = self._tensor(np.pad(padded(bounds), ((0, 0), (0, 1)))) * self._n_cells
        self._is_open = self._tensor(_open_orbits(supercells))
        self._roomy = np.array(
            [
                _has_room(ends, near, most, self._n_cells)
                for ends, near, most in zip(bounds, neighbours, self._most, strict=True)
            ]
        )
        self._n_places = np.array([ends[-1] for ends in bounds]) * self._n_cells
        self._taken_with, self._table_row = self._tables(neighbours)

    def _tables(self, neighbours: Sequence[np.ndarray]) -> tuple[dict[int, Tensor], Tensor]:
        """Tables (U, P, K) by P, the number of places, and the row in them of each host.

        A table has the places taken with each place: itself and those too near. P fills up.
        """
        rows, tables = [], defaultdict[int, dict[bytes, np.ndarray]](dict)
        for n_places, near in zip(self._n_places.tolist(), neighbours, strict=True):
            same_size = tables[n_places]
            if near.tobytes() not in same_size:
                same_size[near.tobytes()] = _taken_with(
                    near, n_places // self._n_cells, self._repeats
                )
            rows.append(list(same_size).index(near.tobytes()))
        stacked = {}
        for n_places, different in tables.items():
            most = max(table.shape[1] for table in different.values())
            stacked[n_places] = self._tensor(
                [
                    np.pad(table, ((0, 0), (0, most - table.shape[1])), constant_values=n_places)
                    for table in different.values()
                ]
            )
        return stacked, self._tensor(rows)

    def _tensor(self, values: object) -> Tensor:
        return torch.as_tensor(np.asarray(values), device=self.device)

    def draw(
        self,
        host: np.ndarray,
        is_between: np.ndarray,
        impurity: Tensor,
        count: Tensor,
        seeds: Tensor,
    ) -> Tensor:
        """Different places of each of B rows, no more than its host's most defects.

        Args:
            host: (B,) index of each row's host, in CPU memory.
            is_between: (B,) whether they are interstitial sites of one kind, none too near another,
                and not host sites; in CPU memory.
            impurity: (B,) index in the settings' list, -1 where there is none.
            count: (B,) number of places.
            seeds: (B,) int64.

        Returns:
            (B, D) places; D is the most defects of any host, and what lies behind a row's count has
            no meaning.

        Raises:
            ValueError: a host has no room for so many interstitials. Only where its room is not
            certain beforehand is that looked for, which waits for the device.
        """
        place = torch.zeros((len(host), self._most.max()), dtype=torch.int64, device=self.device)
        between = torch.from_numpy(is_between).to(self.device)
        rows = _Rows(torch.from_numpy(host).to(self.device), between, impurity, count, seeds)
        draw = self._draw_in_turn if self.device.type == "cpu" else self._draw_together
        for together in self._batches(host):
            hosts = host[together]
            roomy = bool((self._roomy[hosts] | ~is_between[together]).all())
            chosen = torch.from_numpy(together).to(self.device)
            most = int(self._most[hosts].max())
            n_places = int(self._n_places[hosts[0]])
            place[chosen, :most], missing = draw(n_places, most, roomy, rows.part(chosen))
            if not roomy and bool(missing.any()):
                self._refuse(hosts[missing.cpu().numpy()][0])
        return place

    def _batches(self, host: np.ndarray) -> Iterator[np.ndarray]:
        """Rows to draw together: of hosts with as many places, so that all look through their own.

        No more than the device has memory for.
        """
        budget = self._memory or memory_budget(self.device)
        for n_places in np.unique(self._n_places[host]).tolist():
            rows = np.flatnonzero(self._n_places[host] == n_places)
            at_once = max(1, budget // (_BYTES_PER_PLACE * n_places))
            for start in range(0, len(rows), at_once):
                yield rows[start : start + at_once]

    def _draw_together(
        self, n_places: int, most: int, roomy: bool, rows: _Rows
    ) -> tuple[Tensor, Tensor]:
        """(b, most) places, and whether (b,) there was no room for all of them."""
        sublattices = self._in_order(rows)
        place = torch.zeros((len(sublattices), most), dtype=torch.int64, device=self.device)
        missing = torch.ones_like(rows.is_between)
        # Where each orbit has room, the first in the order is the only one to be tried.
        for attempt in range(1 if roomy else sublattices.shape[1]):
            counters = torch.arange(n_places, device=self.device) + attempt * n_places
            keys = (random_words(rows.seeds[:, None], counters) >> 33).int()
            found, all_there = self._draw_on(sublattices[:, attempt], most, rows, keys)
            place = torch.where(missing[:, None], found, place)
            missing &= ~all_there
        return place, missing

    def _draw_in_turn(
        self, n_places: int, most: int, roomy: bool, rows: _Rows
    ) -> tuple[Tensor, Tensor]:
        """As `_draw_together`, row after row on the CPU, where that takes a tenth of the time."""
        place = torch.zeros((len(rows.seeds), most), dtype=torch.int64)
        missing = draw_apart(
            rows.seeds.numpy().view(np.uint64),
            rows.count.numpy(),
            self._in_order(rows).numpy(),
            self._bounds[rows.host].numpy(),
            self._taken_with[n_places].numpy(),
            self._table_row[rows.host].numpy(),
            n_places,
            place.numpy(),
        )
        return place, torch.from_numpy(missing)

    def _in_order(self, rows: _Rows) -> Tensor:
        """(b, A) sublattices to draw on: the next one where there is no room on those before."""
        is_open = self._is_open[rows.host, rows.impurity]
        orbits = torch.arange(is_open.shape[1], device=self.device)
        keys = random_words(rows.seeds[:, None], orbits + ORBITS)
        order = keys.masked_fill(~is_open, torch.iinfo(torch.int64).max).argsort(dim=1)
        sublattices = torch.where(is_open.gather(1, order), 1 + order, self._bounds.shape[1] - 2)
        return sublattices * rows.is_between[:, None]

    def _draw_on(
        self, sublattice: Tensor, most: int, rows: _Rows, keys: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(b, most) places on each row's sublattice by rising key (b, P), and whether all exist."""
        n_places = keys.shape[1]
        places = torch.arange(n_places, device=self.device)
        start, stop = (self._bounds[rows.host, sublattice + end, None] for end in (0, 1))
        keys.masked_fill_((places < start) | (places >= stop), _TAKEN)
        # An extra column takes what fills up the table.
        keys = torch.cat([keys, torch.full_like(keys[:, :1], _TAKEN)], dim=1)
        taken_with, row = self._taken_with[n_places], self._table_row[rows.host]
        found, found_keys = [], []
        for _ in range(most):
            chosen = keys.argmin(dim=1, keepdim=True)
            found.append(chosen)
            found_keys.append(keys.gather(1, chosen))
            keys.scatter_(1, taken_with[row, chosen[:, 0]], _TAKEN)
        wanted = torch.arange(most, device=self.device) < rows.count[:, None]
        is_there = torch.cat(found_keys, dim=1) < _TAKEN
        return torch.cat(found, dim=1), (is_there | ~wanted).all(dim=1)

    def _refuse(self, host: int) -> None:
        raise ValueError(
            f"{self._supercells[host].host.id}: no room for so many interstitials; lower the "
            "fraction or the separation"
        )


def _open_orbits(supercells: Sequence[HostSupercell]) -> np.ndarray:
    """(H, E + 1, A) whether an impurity may use a host's kind of site; the last stands for none."""
    elements = supercells[0].settings.impurities
    most = max(len(supercell.orbits) for supercell in supercells)
    is_open = np.zeros((len(supercells), len(elements) + 1, most), dtype=bool)
    for row, supercell in zip(is_open, supercells, strict=True):
        row[:, : len(supercell.orbits)] = True
        for place, element in enumerate(elements):
            if element in LIGHT:
                row[place] = np.isin(np.arange(most), supercell.orbits_of(element))
    return is_open


def _sublattices(supercell: HostSupercell) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the host's own sites and of each orbit's, and what is too near each site.

    The latter (n, 3) are rows of a site, one too near it of its orbit, and the cell that is in.
    """
    sites, n_host = supercell.crystal.sites, len(supercell.host.frac)
    ends = np.cumsum([0, n_host, *(len(orbit.frac) for orbit in supercell.orbits)])
    orbit = np.searchsorted(ends, np.arange(len(sites.frac)), side="right")
    too_near = supercell.too_near[sites.class_of] & (orbit[:, None] == orbit)[..., None]
    too_near[:n_host] = False
    # A site is not in its own way, however small the supercell.
    too_near[np.arange(len(orbit)), np.arange(len(orbit)), 0] = False
    return ends, np.argwhere(too_near)


def _taken_with(near: np.ndarray, n_sites: int, repeats: tuple[int, ...]) -> np.ndarray:
    """(P, K) each place and those too near it; P where there are fewer than K."""
    site, other, away = near.T
    rank = np.arange(len(site)) - np.searchsorted(site, site)
    n_cells = int(np.prod(repeats))
    cells = np.indices(repeats).reshape(3, -1)
    taken = np.full((n_sites, n_cells, 2 + rank.max(initial=-1)), n_sites * n_cells)
    taken[:, :, 0] = np.arange(n_sites * n_cells).reshape(n_sites, n_cells)
    steps = np.stack(np.unravel_index(away, repeats))
    cell = np.ravel_multi_index(cells[:, None] + steps[..., None], repeats, mode="wrap")
    taken[site, :, 1 + rank] = other[:, None] * n_cells + cell
    return taken.reshape(n_sites * n_cells, -1)


def _has_room(ends: np.ndarray, near: np.ndarray, most: int, n_cells: int) -> bool:
    """Whether each orbit is sure to hold `most` interstitials: each keeps off its neighbours."""
    n_near = np.bincount(near[:, 0], minlength=ends[-1])
    return all(
        (stop - start) * n_cells >= most * (1 + n_near[start:stop].max())
        for start, stop in pairwise(ends[1:].tolist())
    )


def padded(arrays: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """Arrays (n,) in one, with zeros behind the shorter ones."""
    joined = np.zeros((len(arrays), max(map(len, arrays))), dtype=np.int64)
    for row, array in zip(joined, arrays, strict=True):
        row[: len(array)] = array
    return joined
