"""Who may write to a store: one run, or several parts of one, never two of the same.

The locks are the system's (flock): it lets go of them however a process ends.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hpc.store.places import REMEDY, make_folders, remove
from pdfcalc.reading import is_regular, read_file

log = logging.getLogger(__name__)
_ATTEMPTS = 10


@dataclass(frozen=True)
class Part:
    """One of `count` shares of a run's shards, as a job array deals them out."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """The part that "K/N" names.

        Raises:
            ValueError: it is not two numbers, or K is not below N.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise ValueError(f"--part {text}: write K/N with K from 0 to N - 1, as in 0/4")
        return cls(int(index), int(count))

    def takes(self, shard: int) -> bool:
        """Whether a shard belongs to this part."""
        return shard % self.count == self.index


@contextmanager
def writing(path: Path, part: Part | None = None, repair: bool = False) -> Iterator[None]:
    """Hold a store for writing: all of it, or one part beside others.

    Args:
        repair: put right what stands in the place of the ledger or its locks.

    Raises:
        ValueError: another process writes to the same, or `path` is not one of ours.
    """
    if repair:
        _clear_ledger(path)
    refuse_strangers(path)
    ledger = path / "ledger"
    ledger.mkdir(parents=True, exist_ok=True)
    mode = fcntl.LOCK_EX if part is None else fcntl.LOCK_SH
    with _locked(ledger / "lock", mode, path):
        if part is None:
            yield
        else:
            name = f"part-{part.index}-of-{part.count}.lock"
            with _locked(ledger / name, fcntl.LOCK_EX, path):
                _refuse_other_shares(path, part)
                yield


def _refuse_other_shares(path: Path, part: Part) -> None:
    """Raise ValueError while a part of another number of parts is at work: shares overlap."""
    for lock in (path / "ledger").glob("part-*.lock"):
        count = lock.stem.rpartition("-")[2]
        if count != str(part.count) and _is_held(lock):
            raise ValueError(
                f"{path}: one of {count} parts is being written; --part K/{part.count} can begin "
                "when these have ended"
            )


def refuse_strangers(path: Path) -> None:
    """Raise ValueError if there is something at `path` that is not one of ours."""
    ledger = path / "ledger"
    if os.path.lexists(path) and not path.is_dir():
        raise ValueError(f"{path} exists and is not a store: give --store another path")
    if is_regular(ledger / "lock") or all(place == ledger for place in path.rglob("*")):
        return
    if not _says_that_it_is_ours(path):
        raise ValueError(f"{path} exists and is not a store: give --store another path")
    raise ValueError(f"{ledger / 'lock'} is lost or no file: {REMEDY}")


def _says_that_it_is_ours(path: Path) -> bool:
    """Whether the metadata of a store that has lost its ledger are of this toolkit."""
    try:
        attributes = json.loads(read_file(path / "zarr.json"))["attributes"]
        return attributes.keys() >= {"run", "input_hash"}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


def _clear_ledger(path: Path) -> None:
    """Make a store of ours have a ledger again, and no lock in it that is no file."""
    ledger = path / "ledger"
    if not (is_regular(ledger / "lock") or _says_that_it_is_ours(path)):
        return
    make_folders(path, ledger)
    for lock in (ledger / "lock", *ledger.glob("*.lock")):
        if not is_regular(lock):
            remove(lock)
    (ledger / "lock").touch()


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold a store that no process writes to; yields False, and holds nothing, where one does."""
    with _opened(path / "ledger" / "lock") as file:
        yield _flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def creating(path: Path) -> Iterator[None]:
    """Wait for one's turn to look whether a store is there, and to make it."""
    with _opened(path / "ledger" / "creation.lock") as file:
        _flock(file, fcntl.LOCK_EX)
        yield


def is_being_written(path: Path) -> bool:
    """Whether a process holds the store, or a part of it, for writing. Changes nothing."""
    return any(_is_held(lock) for lock in (path / "ledger").glob("*lock"))


@contextmanager
def _locked(lock: Path, mode: int, path: Path) -> Iterator[None]:
    # NFS gives a shared lock only to who may read, an exclusive one only to who may write.
    with _opened(lock) as file:
        # `is_being_written` holds a lock for a moment too.
        for _ in range(_ATTEMPTS):
            if _flock(file, mode | fcntl.LOCK_NB):
                break
            time.sleep(0.1)
        else:
            raise ValueError(f"{path}: another `defectpdf generate` is writing to it")
        yield


def _opened(lock: Path) -> IO[str]:
    if os.path.lexists(lock) and not is_regular(lock):
        raise ValueError(f"{lock} is not a file: {REMEDY}")
    return lock.open("a+")


def _flock(file: IO[str], mode: int) -> bool:
    """Take a lock, if nobody else has it; True also where the file system has no locks."""
    try:
        fcntl.flock(file, mode)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning(
            "%s: no locks on this file system (%s); see to it that only one `defectpdf generate` "
            "writes to the store",
            file.name,
            error.strerror,
        )
    return True


def _is_held(lock: Path) -> bool:
    if not is_regular(lock):
        return False
    try:
        with lock.open("r") as file:
            return not _flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
