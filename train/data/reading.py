"""Reading ahead: the next window's shards are read and unpacked while the present one trains."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Arrays = Mapping[str, np.ndarray]
Read = Callable[[np.ndarray], Arrays]
"""Gives the arrays (n, ...), by name, of ascending structures (n,)."""


class Share(NamedTuple):
    """What a process needs of a window."""

    rows: np.ndarray  # (n,) in the order of the batches
    structures: np.ndarray  # (m,) ascending, those of these rows and of rows that wait


@dataclass(frozen=True)
class Held:
    """Arrays in memory."""

    structures: np.ndarray  # (m,) ascending
    arrays: Arrays  # (m, ...)

    def of(self, structures: np.ndarray) -> dict[str, np.ndarray]:
        """(n, ...) arrays, by name, of structures (n,) that are held."""
        places = np.searchsorted(self.structures, structures)
        return {name: values[places] for name, values in self.arrays.items()}


def hosts_at_once(budget: int, bytes_of_host: int, shard: int) -> int:
    """Hosts of a window, in whole shards, such that two windows are within `budget` bytes.

    It is a shard if the budget is smaller than two of them.
    """
    return max(1, budget // (2 * bytes_of_host * shard)) * shard


def read_ahead(
    shares: Iterable[Share], read: Read, like: Arrays, shard: int
) -> Generator[tuple[Share, Held]]:
    """Each share with its arrays, of which a thread reads the next one's meanwhile.

    What the next share needs of the present one is taken over and not read again. Closing the
    iterator ends the thread after the shard in work.

    Args:
        read: called with structures of one shard at a time, in the thread.
        like: arrays of no structure (0, ...), which have shapes and types.
        shard: structures that are stored together.

    Raises:
        ValueError: `read` raised it.
    """
    stopped = threading.Event()

    def load(structures: np.ndarray, present: Held | None) -> Held:
        arrays = {
            name: np.empty((len(structures), *of.shape[1:]), of.dtype) for name, of in like.items()
        }
        missing = np.ones(len(structures), bool)
        if present is not None:
            missing = ~np.isin(structures, present.structures)
            # One by one, without a copy of all of them in between.
            for place in np.flatnonzero(~missing):
                for name, one in present.of(structures[place]).items():
                    arrays[name][place] = one
        places = np.flatnonzero(missing)
        of_shard = structures[places] // shard
        for together in np.split(places, np.flatnonzero(np.diff(of_shard)) + 1):
            if stopped.is_set() or not len(together):
                break
            for name, values in read(structures[together]).items():
                arrays[name][together] = values
        return Held(structures, arrays)

    coming = iter(shares)
    share = next(coming, None)
    with ThreadPoolExecutor(1, "read-ahead") as thread:
        try:
            future = thread.submit(load, share.structures, None) if share else None
            while share and future:
                held = future.result()
                following = next(coming, None)
                future = thread.submit(load, following.structures, held) if following else None
                yield share, held
                share = following
        finally:
            stopped.set()
