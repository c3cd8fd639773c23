"""What is done: one small file for each finished task."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hpc.store.places import remove
from pdfcalc.reading import is_regular, read_file


class QuarantinedHost(BaseModel):
    """A host that could not be computed; its rows hold the fill values."""

    model_config = ConfigDict(frozen=True)

    id: str
    reason: str


class Failure(BaseModel):
    """An attempt at a task that came to nothing, and the host to blame, if it is one's fault."""

    model_config = ConfigDict(frozen=True)

    host: str | None
    reason: str


class DoneRecord(BaseModel):
    """A finished task. The fields from `failures` say how it went and are no part of any digest."""

    model_config = ConfigDict(frozen=True)

    task: int
    input_hash: str
    digest: str
    quarantined: tuple[QuarantinedHost, ...] = ()
    failures: tuple[Failure, ...] = ()
    started: float
    finished: float
    node: str
    pid: int = 0
    peak_memory_mib: float


class FailedTask(BaseModel):
    """A task that could not be done, for a reason that is no host's fault."""

    model_config = ConfigDict(frozen=True)

    task: int
    reason: str


Outcome = DoneRecord | FailedTask


def write_record(ledger: Path, record: DoneRecord) -> None:
    """Write a record so that it is there whole or not at all, also after a power failure."""
    path = _place(ledger, record.task)
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(record.model_dump_json(indent=1))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def withdraw_record(ledger: Path, task: int) -> None:
    """Remove the record of a task whose shard is about to be written again, if there is one.

    It is gone from the disk when this returns: it must not outlive what it speaks of.
    """
    place = _place(ledger, task)
    if os.path.lexists(place):
        remove(place)
        sync(ledger)


def sync(path: Path) -> None:
    """Have the system write a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_records(ledger: Path, input_hash: str) -> dict[int, DoneRecord]:
    """The valid records of a run by task; those of other inputs do not count."""
    found = (_read_record(path, input_hash) for path in sorted(ledger.glob("[0-9]*.json")))
    return {record.task: record for record in found if record}


def read_record(ledger: Path, task: int, input_hash: str) -> DoneRecord | None:
    """The record of a task, if it is done."""
    return _read_record(_place(ledger, task), input_hash)


def _read_record(path: Path, input_hash: str) -> DoneRecord | None:
    if not is_regular(path):
        return None
    try:
        record = DoneRecord.model_validate_json(read_file(path))
    except (FileNotFoundError, ValueError):
        return None
    own = record.input_hash == input_hash and _place(path.parent, record.task) == path
    return record if own else None


def _place(ledger: Path, task: int) -> Path:
    return ledger / f"{task:06d}.json"
