"""The order of an epoch: which rows, in which global batches, whatever the number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from train.data.store import PDFStore


@dataclass(frozen=True)
class Window:
    """Consecutive global batches whose rows are in memory together."""

    rows: np.ndarray  # (k, B) positions in `PDFStore.rows`
    random: np.ndarray  # (k, B) in -1..1, a random number of each row


class EpochOrder:
    """Every training row once an epoch, in an order drawn from (seed, epoch).

    Without a window the order is one permutation. With one, blocks of hosts as the store is
    written come in a random order, so many at a time as the window holds, and the rows of these are
    permuted. Rows that fill no batch go to the next window; an epoch's last, smaller batch is left
    out, unless it is the only one.

    Args:
        rows: (n,) training rows, ascending.
        window: hosts to hold at once; None for all.
    """

    def __init__(
        self, store: PDFStore, rows: np.ndarray, batch_size: int, seed: int, window: int | None
    ) -> None:
        self.rows, self.seed = rows, seed
        self.batch_size = min(batch_size, len(rows))
        self.batches = len(rows) // self.batch_size
        block = store.rows[rows, 0] // store.block_size
        self._blocks = np.split(rows, np.flatnonzero(np.diff(block)) + 1)
        self._at_once = None if window is None else max(1, window // store.block_size)

    def windows(self, epoch: int) -> Iterator[Window]:
        """The windows of an epoch; `batches` batches in all."""
        random = np.random.default_rng((self.seed, epoch))
        kept, factors = np.empty(0, dtype=np.int64), np.empty(0)
        for rows in self._held_at_once(random):
            kept = np.concatenate([kept, random.permutation(rows)])
            factors = np.concatenate([factors, random.uniform(-1, 1, len(rows))])
            full = len(kept) - len(kept) % self.batch_size
            if full:
                shape = -1, self.batch_size
                yield Window(kept[:full].reshape(shape), factors[:full].reshape(shape))
            kept, factors = kept[full:], factors[full:]

    def _held_at_once(self, random: np.random.Generator) -> Iterator[np.ndarray]:
        if self._at_once is None or self._at_once >= len(self._blocks):
            yield self.rows
            return
        order = random.permutation(len(self._blocks))
        for start in range(0, len(order), self._at_once):
            yield np.concatenate(
                [self._blocks[block] for block in order[start : start + self._at_once]]
            )
