"""What is done: one small file for each finished task, and a lock for the one writing process."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict

_ATTEMPTS = 10


class QuarantinedHost(BaseModel):
    """A host that could not be computed; its rows hold the fill values."""

    model_config = ConfigDict(frozen=True)

    id: str
    reason: str


class DoneRecord(BaseModel):
    """A finished task. The last four fields say how it went and are no part of any digest."""

    model_config = ConfigDict(frozen=True)

    task: int
    input_hash: str
    digest: str
    quarantined: tuple[QuarantinedHost, ...] = ()
    started: float
    finished: float
    node: str
    peak_memory_mib: float


def write_record(ledger: Path, record: DoneRecord) -> None:
    """Write a record so that it is there whole or not at all, also after a power failure."""
    path = ledger / f"{record.task:06d}.json"
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    with temporary.open("w") as file:
        file.write(record.model_dump_json(indent=1))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_records(ledger: Path, input_hash: str) -> dict[int, DoneRecord]:
    """The valid records of a run by task; those of other inputs do not count."""
    records = {}
    for path in sorted(ledger.glob("[0-9]*.json")):
        try:
            record = DoneRecord.model_validate_json(path.read_bytes())
        except ValueError:
            continue
        if record.input_hash == input_hash:
            records[record.task] = record
    return records


def sweep_partial_files(path: Path) -> None:
    """Remove what writers that were killed left half-written anywhere in a store."""
    for partial in path.rglob("*.partial"):
        partial.unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a store for writing; the system lets go of it however the process ends.

    Raises:
        ValueError: another process writes to the store, or `path` is not one of ours.
    """
    lock = path / "ledger" / "lock"
    if path.exists() and not lock.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} exists and is not a store: give --store another path")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        _acquire(file, path)
        yield


def _acquire(file: IO[str], path: Path) -> None:
    # `is_being_written` holds the lock for a moment too.
    for _ in range(_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        else:
            return
    raise ValueError(f"{path}: another `defectpdf generate` is writing to it")


def is_being_written(ledger: Path) -> bool:
    """Whether a process holds the store for writing."""
    try:
        with (ledger / "lock").open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
