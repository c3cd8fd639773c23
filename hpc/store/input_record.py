"""What a store was made from: a hash of it, and how to see quickly that it is still the same.

To parse the items of a large library takes a worker minutes, so that it is done once, where the
store is made. From then on ledger/inputs.json tells the files that nobody has changed.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from defectgen.hosts.library import LibraryFile, open_library
from defectgen.samples import Item
from hpc.description import RunDescription
from hpc.store.layout import ItemColumns, declared_fields
from pdfcalc.files import write_atomically
from pdfcalc.reading import open_regular, read_file, require_regular

_RECORD, _INDEX = "inputs.json", "library.npy"


class InputHash:
    """Hash of the items and of all settings but those that say where the items came from."""

    def __init__(self, description: RunDescription) -> None:
        settings = json.dumps(description.identity, sort_keys=True)
        self._digest = hashlib.sha256(settings.encode())

    def noting(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass all items on, in order, and take them into the hash meanwhile."""
        for item in items:
            self._digest.update(item.model_dump_json().encode())
            yield item

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def hash_inputs(description: RunDescription, items: Iterable[Item]) -> str:
    """The `InputHash` of a run."""
    inputs = InputHash(description)
    for _ in inputs.noting(items):
        pass
    return inputs.hexdigest()


def read_inputs(description: RunDescription, items: Sequence[Item]) -> tuple[str, ItemColumns]:
    """Hash and columns of a run's items, which are read once."""
    inputs = InputHash(description)
    columns = ItemColumns(declared_fields(description).columns, len(items))
    for _ in columns.noting(inputs.noting(items)):
        pass
    return inputs.hexdigest(), columns


class InputRecord(BaseModel):
    """What a store was made from.

    Args:
        source_digest: of what the items were read from, as of `Source.digest`.
        library_digest: SHA-256 of library.json.
        library_size, library_mtime_ns: by which an unchanged file is known at one look.
    """

    model_config = ConfigDict(frozen=True)

    input_hash: str
    source_digest: str
    library_digest: str
    library_size: int
    library_mtime_ns: int


def write_record(path: Path, description: RunDescription, input_hash: str) -> None:
    """Note what the store at `path` has just been made from, and where its items begin."""
    library = path / "library.json"
    status = library.stat()
    record = InputRecord(
        input_hash=input_hash,
        source_digest=description.source.digest(),
        library_digest=digest_of(library),
        library_size=status.st_size,
        library_mtime_ns=status.st_mtime_ns,
    )
    starts = _line_starts(library)
    write_atomically(path / "ledger" / _INDEX, lambda file: _save(file, starts))
    text = record.model_dump_json(indent=1)
    write_atomically(path / "ledger" / _RECORD, lambda file: file.write_text(text))


def is_unchanged(path: Path, input_hash: str) -> bool:
    """Whether library.json of a store has the size and the time that it was made with."""
    if (record := read_record(path, input_hash)) is None:
        return False
    try:
        status = (path / "library.json").stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (record.library_size, record.library_mtime_ns)


def open_items(path: Path, description: RunDescription, input_hash: str) -> Sequence[Item]:
    """The items of a store, read from disk as they are asked for."""
    library, item = path / "library.json", description.source.item
    if is_unchanged(path, input_hash):
        index = path / "ledger" / _INDEX
        try:
            require_regular(index)
            starts = np.load(index, mmap_mode="r")
            return LibraryFile(library, item, starts, np.arange(len(starts) - 1))
        except (OSError, ValueError):
            pass  # lost or damaged: the lines are looked for
    return open_library(library, item)


def read_record(path: Path, input_hash: str) -> InputRecord | None:
    """What the store at `path` was made from, if its record is there and of this hash."""
    try:
        record = InputRecord.model_validate_json(read_file(path / "ledger" / _RECORD))
    except (OSError, ValidationError):
        return None
    return record if record.input_hash == input_hash else None


def digest_of(library: Path) -> str:
    """SHA-256 of a file."""
    with open_regular(library) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _line_starts(library: Path) -> np.ndarray:
    """Where each item's line and the closing one begin, in a file of `write_library`."""
    ends, position = array("q"), 0
    with library.open("rb") as file:
        for line in file:
            position += len(line)
            ends.append(position)
    return np.array(ends[:-1], dtype=np.int64)


def _save(path: Path, starts: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, starts, allow_pickle=False)
