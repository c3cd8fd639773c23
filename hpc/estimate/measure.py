"""Measuring what a run costs by some of it: `python -m hpc.estimate.measure`.

It is a process of its own, so that its memory is that of one which computes. Takes a `Trial` from
standard input and prints what was `Measured`, both in JSON. The trial is stored in a temporary
folder, which is gone afterwards.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from defectgen.hosts.host import Host
from hpc.description import RunDescription
from hpc.plan import Task
from hpc.store.layout import HOST_COLUMNS
from hpc.store.store import Store, create, shard_digest
from hpc.workers.work import host_rows, peak_memory_mib

_SECONDS, _HOSTS = 5.0, 32
"""Once one of these is spent, no further host is computed."""


class Trial(BaseModel):
    """What to measure: a run, its host of most atoms, and a shard of others that stand for all."""

    model_config = ConfigDict(frozen=True)

    description: RunDescription
    largest: Host
    hosts: tuple[Host, ...]
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
    memory_mib: float
    shard_memory_mib: float
    failures: dict[str, str]


def measure(trial: Trial) -> Measured:
    """Compute some hosts of a run and store them.

    Raises:
        ValueError: no host of the trial can be computed.
    """
    failures: dict[str, str] = {}
    with TemporaryDirectory(prefix="defectpdf-") as folder:
        store = _small_store(Path(folder), trial)
        _try(trial.largest, store, failures)
        startup = time.time() - trial.started
        rows, seconds = _compute(trial.hosts, store, failures)
        # The first hosts also load compiled code and fill caches.
        settled = seconds[len(seconds) // 2 :]
        startup += max(0.0, sum(seconds) - len(seconds) * mean(settled))
        if not rows:
            host, reason = next(iter(failures.items()))
            raise ValueError(f"no host of the trial can be computed: {host}: {reason}")
        made = _sizes(store)
        _write(store, trial.hosts[: len(rows)], rows)
        written = _sizes(store)
        began = time.perf_counter()
        _write(store, trial.hosts, rows)
        writing = (time.perf_counter() - began) / len(trial.hosts)
        memory = peak_memory_mib()
        tracemalloc.start()
        _write(store, trial.hosts, rows)
        return Measured(
            n_hosts=len(seconds),
            n_shard=len(trial.hosts),
            startup_seconds=startup,
            seconds_per_host=mean(settled) + writing,
            fixed_bytes=made.fixed,
            host_bytes=made.hosts / len(trial.hosts),
            row_bytes=written.rows / len(rows),
            empty_arrays=written.empty,
            memory_mib=memory,
            shard_memory_mib=tracemalloc.get_traced_memory()[1] / 2**20,
            failures=failures,
        )


def _small_store(folder: Path, trial: Trial) -> Store:
    (folder / "ledger").mkdir()
    shard = {"hosts_per_shard": len(trial.hosts)}
    return create(folder, trial.description.model_copy(update=shard), trial.hosts)


def _compute(
    hosts: tuple[Host, ...], store: Store, failures: dict[str, str]
) -> tuple[list[dict[str, np.ndarray]], list[float]]:
    """Rows of the hosts that can be computed in the time, and the seconds of each one tried."""
    rows: list[dict[str, np.ndarray]] = []
    seconds: list[float] = []
    while len(seconds) < min(len(hosts), _HOSTS) and sum(seconds) < _SECONDS:
        began = time.perf_counter()
        if (values := _try(hosts[len(seconds)], store, failures)) is not None:
            rows.append(values)
        seconds.append(time.perf_counter() - began)
    return rows, seconds


def _try(host: Host, store: Store, failures: dict[str, str]) -> dict[str, np.ndarray] | None:
    try:
        return host_rows(host, store)
    except (MemoryError, OSError, ImportError):
        raise
    except Exception as error:  # whatever it is, a run quarantines the host for it
        failures[host.id] = str(error)
        return None


def _write(store: Store, hosts: tuple[Host, ...], rows: list[dict[str, np.ndarray]]) -> None:
    """What a task does with the rows of so many hosts; these are taken over and over."""
    repeated = {
        name: np.stack([rows[i % len(rows)][name] for i in range(len(hosts))])
        for name in store.variant_arrays
    }
    store.write_shard(Task(index=0, start=0, hosts=hosts), repeated)
    shard_digest(repeated)


class _Sizes(NamedTuple):
    """Bytes of a store's files by what they grow with, and the arrays that have none."""

    fixed: int
    hosts: int
    rows: int
    empty: frozenset[str]


def _sizes(store: Store) -> _Sizes:
    chunks = {name: _bytes_in(store.path / name / "c") for name in store.group.array_keys()}
    rows = {name: chunks.pop(name) for name in store.variant_arrays}
    columns = {name: chunks.pop(name) for name in HOST_COLUMNS}
    library = (store.path / "library.json").stat().st_size
    metadata = sum(file.stat().st_size for file in store.path.rglob("zarr.json"))
    empty = frozenset(name for name, size in (columns | rows).items() if not size)
    return _Sizes(
        fixed=metadata + sum(chunks.values()),
        hosts=library + sum(columns.values()),
        rows=sum(rows.values()),
        empty=empty,
    )


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    try:
        print(measure(Trial.model_validate_json(sys.stdin.buffer.read())).model_dump_json())
    except ValueError as error:
        sys.exit(str(error))
