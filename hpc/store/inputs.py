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
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from defectgen.hosts.library import LibraryFile, open_library
from defectgen.samples import Item
from hpc.description import RunDescription, differences
from hpc.store.layout import ItemColumns, declared_fields
from pdfcalc.files import write_atomically
from pdfcalc.reading import open_regular, read_file, require_regular

if TYPE_CHECKING:
    from hpc.store.store import Store

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
        library_digest=_digest_of(library),
        library_size=status.st_size,
        library_mtime_ns=status.st_mtime_ns,
    )
    starts = _line_starts(library)
    write_atomically(path / "ledger" / _INDEX, lambda file: _save(file, starts))
    text = record.model_dump_json(indent=1)
    write_atomically(path / "ledger" / _RECORD, lambda file: file.write_text(text))


def has_its_items(store: Store) -> bool:
    """Whether library.json holds the items that the store was made from."""
    if is_unchanged(store):
        return True
    record = _record_of(store)
    try:
        if record and _digest_of(store.path / "library.json") == record.library_digest:
            return True
        return hash_inputs(store.description, store.items) == store.input_hash
    except (OSError, ValueError):
        return False


def is_unchanged(store: Store) -> bool:
    """Whether library.json has the size and the time that it was made with."""
    if (record := _record_of(store)) is None:
        return False
    try:
        status = (store.path / "library.json").stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (record.library_size, record.library_mtime_ns)


def items_of(store: Store) -> Sequence[Item]:
    """The items of a store, read from disk as they are asked for."""
    library, item = store.path / "library.json", store.description.source.item
    if is_unchanged(store):
        try:
            require_regular(store.ledger / _INDEX)
            starts = np.load(store.ledger / _INDEX, mmap_mode="r")
            return LibraryFile(library, item, starts, np.arange(len(starts) - 1))
        except (OSError, ValueError):
            pass  # lost or damaged: the lines are looked for
    return open_library(library, item)


def refuse_other_formulas(store: Store) -> None:
    """Raise ValueError if the store was made by other formulas than this version's."""
    made, own = store.revisions, store.description.revisions
    for name in sorted(made.keys() | own.keys()):
        before, now = made.get(name, 1), own.get(name, 1)
        if before != now:
            raise ValueError(
                f"{store.path} was made by revision {before} of {name}, this version of defectpdf "
                f"has {now}, which gives other values: use another --store, or the version that "
                "the store was begun with"
            )


def refuse_another_run(store: Store, description: RunDescription) -> None:
    """Raise ValueError, with what differs, unless a store is of this run.

    Its items are read only where something has changed since the store was made.
    """
    if description.identity == store.description.identity:
        record = _record_of(store)
        if record and record.source_digest == description.source.digest():
            return
        if hash_inputs(description, description.source.items()) == store.input_hash:
            return
    lines = differences(
        store.description.model_dump(mode="json"), description.model_dump(mode="json")
    )
    raise ValueError(
        f"{store.path} holds another run ({'; '.join(lines) or 'the hosts have changed'}): "
        "use another --store, or the stored settings"
    )


def _record_of(store: Store) -> InputRecord | None:
    try:
        record = InputRecord.model_validate_json(read_file(store.ledger / _RECORD))
    except (OSError, ValidationError):
        return None
    return record if record.input_hash == store.input_hash else None


def _digest_of(path: Path) -> str:
    with open_regular(path) as file:
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
