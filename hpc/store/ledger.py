"""What is done: one small file for each finished task, joined into one when all are done."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hpc.store.places import remove
from pdfcalc.files import sync, write_atomically
from pdfcalc.reading import is_regular

JOINED = "records.jsonl"
_TASK = re.compile(rb'\{"task":(\d+),')


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
    text = record.model_dump_json(indent=1)
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def withdraw_record(ledger: Path, task: int) -> None:
    """Have the record of a task whose shard is about to be written again count no more.

    It is so on the disk when this returns: it must not outlive what it speaks of.
    """
    path = _place(ledger, task)
    is_there = os.path.lexists(path)
    if not is_regular(path):
        remove(path)
    if str(task) in _joined(ledger):
        # An empty file of its own stands before the joined one.
        write_atomically(path, lambda beside: beside.touch())
    elif is_there:
        remove(path)
    else:
        return
    sync(ledger)


def read_records(ledger: Path, input_hash: str) -> dict[int, DoneRecord]:
    """The valid records of a run by task; those of other inputs do not count."""
    # Files of their own first: one that is joined meanwhile is found there.
    single = {path.stem.lstrip("0") or "0": path for path in ledger.glob("[0-9]*.json")}
    found = [_parsed(_read(path), input_hash) for path in single.values()]
    joined = _joined(ledger)
    found += [_parsed(joined[task], input_hash) for task in joined.keys() - single.keys()]
    return {record.task: record for record in found if record}


def read_record(ledger: Path, task: int, input_hash: str) -> DoneRecord | None:
    """The record of a task, if it is done."""
    path = _place(ledger, task)
    text = _read(path) if os.path.lexists(path) else _joined(ledger).get(str(task), b"")
    record = _parsed(text, input_hash)
    return record if record and record.task == task else None


def join_records(ledger: Path, input_hash: str) -> None:
    """Make one file of the records of all tasks.

    For a run that is complete, and a store that nobody else writes to.
    """
    records = read_records(ledger, input_hash)
    single = list(ledger.glob("[0-9]*.json"))
    if not single:
        return
    lines = (f"{records[task].model_dump_json()}\n" for task in sorted(records))

    def write(beside: Path) -> None:
        with beside.open("w", encoding="utf-8") as file:
            file.writelines(lines)

    if not is_regular(ledger / JOINED):
        remove(ledger / JOINED)
    write_atomically(ledger / JOINED, write)
    sync(ledger)
    for path in single:
        remove(path)


def _joined(ledger: Path) -> dict[str, bytes]:
    """The text of each joined record, by task."""
    path = ledger / JOINED
    if not is_regular(path):
        return {}
    status = path.stat()
    return _lines(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _lines(path: Path, mtime_ns: int, size: int) -> dict[str, bytes]:
    found = (_TASK.match(line) for line in path.read_bytes().splitlines())
    return {match[1].decode(): match.string for match in found if match}


def _read(path: Path) -> bytes:
    if not is_regular(path):
        return b""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _parsed(text: bytes, input_hash: str) -> DoneRecord | None:
    """The record of a text; None where it is none, or of other inputs."""
    try:
        record = DoneRecord.model_validate_json(text)
    except ValueError:
        return None
    return record if record.input_hash == input_hash else None


def _place(ledger: Path, task: int) -> Path:
    return ledger / f"{task:06d}.json"
