"""The making of a store, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from defectgen.hosts.library import write_library
from defectgen.samples import Item
from hpc.description import RunDescription
from hpc.store.input_record import InputHash, write_record
from hpc.store.layout import ItemColumns, create_group, declared_fields
from hpc.store.places import remove, sweep_partial_files
from hpc.store.shards import sync_tree
from hpc.store.store import Store


def create(path: Path, description: RunDescription, items: Sequence[Item]) -> Store:
    """Make the store of a run, or make it again if it was killed while it was made.

    The caller holds `hpc.store.locks.creating`.
    """
    unfinished = path / "ledger" / "unfinished"
    sweep_partial_files(path)
    unfinished.touch()
    for place in path.iterdir():  # arrays among them that this description may not have
        if place.name != "ledger":
            remove(place)
    # Reading a large library takes longer than all the rest, so that it is read once.
    inputs = InputHash(description)
    columns = ItemColumns(declared_fields(description).columns, len(items))
    write_library(path / "library.json", columns.noting(inputs.noting(items)))
    create_group(path, description, columns, inputs.hexdigest())
    write_record(path, description, inputs.hexdigest())
    sync_tree(path)
    unfinished.unlink()
    return Store(path, mode="r+")


def is_to_be_made(path: Path) -> bool:
    """Whether there is no store at `path` yet, or one that was killed while it was made."""
    return (path / "ledger" / "unfinished").exists() or _holds_nothing(path)


def _holds_nothing(path: Path) -> bool:
    """Whether a folder holds only the locks of a store that is about to be made."""
    ledger = path / "ledger"
    return all(
        entry == ledger or (entry.parent == ledger and entry.name.endswith("lock"))
        for entry in path.rglob("*")
    )
