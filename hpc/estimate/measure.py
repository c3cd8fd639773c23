"""Measuring what a run costs by some of it: `python -m hpc.estimate.measure`.

It is a process of its own, so that its memory is that of one which computes. Takes an `Trial` from
standard input and prints what was `Measured`, both in JSON. The trial is stored in a temporary
folder, which is gone afterwards.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from defectgen.samples import Item
from hpc.description import RunDescription
from hpc.plan import Shard
from hpc.store.creation import create
from hpc.store.ragged import ragged_folder
from hpc.store.shards import ShardWriter, shard_digest
from hpc.store.store import Store
from hpc.workers.work import item_rows, peak_memory_mib

_SECONDS, _HOSTS = 5.0, 32
"""Once one of these is spent, no further host is computed."""


class Trial(BaseModel):
    """What to measure: a run, its largest item, and a shard of others that stand for all."""

    model_config = ConfigDict(frozen=True)

    description: RunDescription
    largest: dict[str, Any]
    items: tuple[dict[str, Any], ...]
    started: float


class Measured(BaseModel):
    """What a trial took. Bytes are those of files.

    Args:
        n_hosts: that were computed, or tried.
        n_shard: hosts of the shard that was written, with the rows of the computed ones.
        startup_seconds: spent once, on imports and compiled code.
        seconds_per_host: computing and writing.
        fixed_bytes: metadata and coordinates.
        host_bytes: a host's line in the library and place in the columns.
        row_bytes: a host's rows in the arrays.
        empty_arrays: that hold nothing but fill values and so have no files.
        ragged: files and folders of a shard's ragged fields.
        memory_mib: peak of the process, which also computed the largest host.
        shard_memory_mib: what of it holding and writing the shard takes.
        failures: why hosts can't be computed, by id.
    """

    model_config = ConfigDict(frozen=True)

    n_hosts: int
    n_shard: int
    startup_seconds: float
    seconds_per_host: float
    fixed_bytes: int
    host_bytes: float
    row_bytes: float
    empty_arrays: frozenset[str]
    ragged: tuple[int, int]
    memory_mib: float
    shard_memory_mib: float
    failures: dict[str, str]


def measure(trial: Trial) -> Measured:
    """Compute some hosts of a run and store them.

    Raises:
        ValueError: no host of the trial can be computed.
    """
    failures: dict[str, str] = {}
    item = trial.description.source.item
    largest: Any = item.model_validate(trial.largest)
    items: list[Any] = [item.model_validate(one) for one in trial.items]
    with TemporaryDirectory(prefix="defectpdf-") as folder:
        store = _small_store(Path(folder), trial, items)
        shard = Shard(0, 0, len(items))
        _try(largest, store, failures)
        startup = time.time() - trial.started
        rows, seconds = _compute(items, store, failures)
        # The first hosts also load compiled code and fill caches.
        settled = seconds[len(seconds) // 2 :]
        startup += max(0.0, sum(seconds) - len(seconds) * mean(settled))
        if not rows:
            host, reason = next(iter(failures.items()))
            raise ValueError(f"no host of the trial can be computed: {host}: {reason}")
        made = _sizes(store)
        _write(store, Shard(0, 0, len(rows)), rows)
        written = _sizes(store)
        began = time.perf_counter()
        _write(store, shard, rows)
        writing = (time.perf_counter() - began) / len(items)
        memory = peak_memory_mib()
        tracemalloc.start()
        _write(store, shard, rows)
        return Measured(
            n_hosts=len(seconds),
            n_shard=len(items),
            startup_seconds=startup,
            seconds_per_host=mean(settled) + writing,
            fixed_bytes=made.fixed,
            host_bytes=made.items / len(items),
            row_bytes=written.rows / len(rows),
            empty_arrays=written.empty,
            ragged=written.ragged,
            memory_mib=memory,
            shard_memory_mib=tracemalloc.get_traced_memory()[1] / 2**20,
            failures=failures,
        )


def _small_store(folder: Path, trial: Trial, items: Sequence[Item]) -> Store:
    (folder / "ledger").mkdir()
    shard = {"hosts_per_shard": len(items)}
    return create(folder, trial.description.model_copy(update=shard), items)


_Rows = list[tuple[int, dict[str, Any]]]
"""Of one item, as `item_rows` yields them."""


def _compute(
    items: Sequence[Item], store: Store, failures: dict[str, str]
) -> tuple[list[_Rows], list[float]]:
    """Rows of the items that can be computed in the time, and the seconds of each one tried."""
    rows: list[_Rows] = []
    seconds: list[float] = []
    while len(seconds) < min(len(items), _HOSTS) and sum(seconds) < _SECONDS:
        began = time.perf_counter()
        if (values := _try(items[len(seconds)], store, failures)) is not None:
            rows.append(values)
        seconds.append(time.perf_counter() - began)
    return rows, seconds


def _try(item: Item, store: Store, failures: dict[str, str]) -> _Rows | None:
    try:
        return list(item_rows(item, store.description, store.tiling.samples, lambda _: None))
    except (MemoryError, OSError, ImportError):
        raise
    except Exception as error:  # whatever it is, a run quarantines the item for it
        failures[item.id] = str(error)
        return None


def _write(store: Store, shard: Shard, rows: Sequence[_Rows]) -> None:
    """What a task does with the rows of a shard's items; these are taken over and over."""
    with ShardWriter(store, shard) as writer:
        for row in range(shard.n_items):
            for first, values in rows[row % len(rows)]:
                writer.put(row, first, values)
            writer.end_item()
    shard_digest(store, shard)


class _Sizes(NamedTuple):
    """Bytes of a store's files by what they grow with, and the arrays that have none."""

    fixed: int
    items: int
    rows: int
    empty: frozenset[str]
    ragged: tuple[int, int]
    """Files and folders of the ragged fields."""


def _sizes(store: Store) -> _Sizes:
    chunks = {name: _bytes_in(store.path / name / "c") for name in store.group.array_keys()}
    rows = {name: chunks.pop(name) for name in store.fields.dense}
    columns = {name: chunks.pop(name) for name in store.fields.columns}
    ragged = ragged_folder(store.path, 0)
    library = (store.path / "library.json").stat().st_size
    metadata = [file for file in store.path.rglob("zarr.json") if ragged not in file.parents]
    in_ragged = [ragged, *ragged.rglob("*")] if ragged.exists() else []
    n_files = sum(path.is_file() for path in in_ragged)
    empty = frozenset(name for name, size in (columns | rows).items() if not size)
    return _Sizes(
        fixed=sum(file.stat().st_size for file in metadata) + sum(chunks.values()),
        items=library + sum(columns.values()),
        rows=sum(rows.values()) + _bytes_in(ragged),
        empty=empty,
        ragged=(n_files, len(in_ragged) - n_files),
    )


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    try:
        print(measure(Trial.model_validate_json(sys.stdin.buffer.read())).model_dump_json())
    except ValueError as error:
        sys.exit(str(error))
