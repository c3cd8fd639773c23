"""The order of an epoch: which rows, in which global batches, whatever the number of processes.

Where a store is larger than memory, a process reads whole shards, and only its own. Lanes see to
that: shards are dealt out to a number of them that has nothing to do with processes, and every
global batch takes as many rows of each lane. A process has every so-many-th lane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from train.data.examples import Examples

LANES = 16
"""At most; and at most as many processes can share the reading of a larger store."""
WINDOWED_ORDER = f"{LANES} lanes"
"""Names the order with a window: a snapshot goes on in its own order only."""


@dataclass(frozen=True)
class Window:
    """Consecutive global batches whose rows are in memory together."""

    rows: np.ndarray  # (k, B) positions in `Examples.rows`; column c is of lane c modulo the lanes
    random: np.ndarray  # (k, B) in -1..1, a random number of each row
    held: tuple[np.ndarray, ...]
    """By lane, the rows to hold: those of these batches and those that wait."""


class EpochOrder:
    """Every training row once an epoch, in an order drawn from (seed, epoch).

    Without a window the order is one permutation. With one, shards as the store is written come in
    a random order, so many at a time as the window holds beside what waits, each to the lane that
    has the fewest rows; the rows that a lane gives to a window's batches are permuted. Rows that
    fill no batch wait for the next window; an epoch's last, smaller batch is left out, unless it is
    the only one.

    Args:
        rows: (n,) training rows, ascending.
        window: hosts to hold at once; None for all.

    Attributes:
        lanes: how many processes can share an epoch.
    """

    def __init__(
        self, examples: Examples, rows: np.ndarray, batch_size: int, seed: int, window: int | None
    ) -> None:
        self.rows, self.seed = rows, seed
        self.batch_size = self.lanes = min(batch_size, len(rows))
        self.batches = len(rows) // self.batch_size
        self._windowed = window is not None
        if window is None:
            return
        block = examples.rows[rows, 0] // examples.block_size
        self._shards = np.split(rows, np.flatnonzero(np.diff(block)) + 1)
        at_once = min(max(1, window // examples.block_size), len(self._shards))
        most = max(1, min(LANES, at_once // 2))
        self.lanes = max(n for n in range(1, most + 1) if self.batch_size % n == 0)
        # What waits is less than a batch, and where there are lanes, up to a shard of each.
        self._dealt_at_once = at_once - self.lanes if self.lanes > 1 else at_once

    def lanes_of(self, rank: int, size: int) -> np.ndarray:
        """The lanes of a process.

        Raises:
            ValueError: there are more processes than lanes.
        """
        if self._windowed and size > self.lanes:
            raise ValueError(
                f"{size} processes cannot share {self.lanes} lanes of shards, as which a store "
                f"larger than memory is read: use fewer, a batch_size that is a multiple of "
                f"{LANES}, or a store with fewer hosts_per_shard"
            )
        return np.arange(rank, self.lanes, size)

    def columns_of(self, rank: int, size: int) -> np.ndarray:
        """(b,) columns of a window's rows that are those of a process."""
        return np.flatnonzero(np.arange(self.batch_size) % self.lanes % size == rank)

    def fewest_rows(self, size: int) -> int:
        """Of a batch, for any of so many processes."""
        return self.lanes // size * (self.batch_size // self.lanes)

    def windows(self, epoch: int) -> Iterator[Window]:
        """The windows of an epoch; `batches` batches in all."""
        random = np.random.default_rng((self.seed, epoch))
        if self._windowed:
            yield from self._windows_of_shards(random)
            return
        used = self.batches * self.batch_size
        rows = random.permutation(self.rows)[:used]
        factors = random.uniform(-1, 1, len(self.rows))[:used]
        shape = self.batches, self.batch_size
        rows = rows.reshape(shape)
        yield Window(rows, factors.reshape(shape), tuple(rows.T))

    def _windows_of_shards(self, random: np.random.Generator) -> Iterator[Window]:
        of_lane = self.batch_size // self.lanes  # rows of a lane in a batch
        waiting = [np.empty(0, np.int64)] * self.lanes
        order = random.permutation(len(self._shards))
        for start in range(0, len(order), self._dealt_at_once):
            stop = start + self._dealt_at_once
            held = self._deal(waiting, order[start:stop])
            if stop >= len(order):
                held = _levelled(held, sum(map(len, held)) // self.batch_size * of_lane)
            batches = min(map(len, held)) // of_lane
            used = batches * of_lane
            waiting = [rows[used:] for rows in held]
            if batches:
                lanes = [random.permutation(rows[:used]) for rows in held]
                rows = np.stack(lanes, axis=1).reshape(batches, self.batch_size)
                yield Window(rows, random.uniform(-1, 1, rows.shape), tuple(held))

    def _deal(self, waiting: list[np.ndarray], shards: np.ndarray) -> list[np.ndarray]:
        """Rows of each lane, which stay whole hosts, so that what waits is of few of them."""
        lanes = [[rows] for rows in waiting]
        filled = np.array([len(rows) for rows in waiting])
        for shard in sorted(shards, key=lambda shard: -len(self._shards[shard])):
            lane = filled.argmin()
            lanes[lane].append(self._shards[shard])
            filled[lane] += len(self._shards[shard])
        return [np.concatenate(rows) for rows in lanes]


def _levelled(lanes: list[np.ndarray], count: int) -> list[np.ndarray]:
    """The lanes with `count` rows each, of which the long ones give to the short ones."""
    spare = np.concatenate([rows[count:] for rows in lanes])
    levelled = []
    for rows in lanes:
        given, spare = np.split(spare, [max(0, count - len(rows))])
        levelled.append(np.concatenate([rows[:count], given]))
    return levelled
