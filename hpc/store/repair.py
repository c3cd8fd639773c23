"""Putting right what was damaged in a store after it was written, other than its shards.

Shards are put right by the workers, which compute anew those that are not as recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from defectgen.hosts.library import write_library
from defectgen.samples import Item
from hpc.description import RunDescription
from hpc.store.input_record import read_inputs, write_record
from hpc.store.inputs import has_its_items
from hpc.store.layout import create_group
from hpc.store.ledger import read_records
from hpc.store.places import make_folders, misplaced, remove, strangers
from hpc.store.store import Store
from pdfcalc.files import write_atomically
from pdfcalc.reading import is_regular


def restore(path: Path, description: RunDescription | None) -> None:
    """Write library, metadata, coordinates and host columns anew where they are not as made.

    Args:
        description: None for that of the store. A store of another run is left as it is.

    Raises:
        ValueError: zarr.json is damaged and no shard is of this run.
    """
    from zarr.storage import MemoryStore

    items: Sequence[Item] | None = None
    if description is None:
        store = Store(path)
        description, items = store.description, store.items if has_its_items(store) else None
        if items and not is_regular(path / "library.json"):
            items = list(items)  # the link that leads to them is about to go
    items = items or description.source.items()
    input_hash, columns = read_inputs(description, items)
    if not _is_of(path, input_hash):
        return
    as_made: dict = {}
    create_group(MemoryStore(as_made), description, columns, input_hash)
    names = {key.partition("/")[0] for key in as_made if "/" in key}
    for place in [*strangers(path, names), *misplaced(path, names)]:
        remove(place)
    for key, content in as_made.items():
        _restore_file(path, key, content.to_bytes())
    write_library(path / "library.json", items)
    write_record(path, description, input_hash)


def _is_of(path: Path, input_hash: str) -> bool:
    """Whether a store is of this run by its metadata or, if they are damaged, its records."""
    try:
        if is_regular(path / "zarr.json"):
            return Store(path).input_hash == input_hash
    except (ValueError, KeyError):
        pass
    if read_records(path / "ledger", input_hash):
        return True
    raise ValueError(
        f"{path / 'zarr.json'} is damaged and no shard is of this run: give the run.toml and the "
        "library that the store was made from"
    )


def _restore_file(store: Path, key: str, content: bytes) -> None:
    path = store / key
    if not is_regular(path) or path.read_bytes() != content:
        make_folders(store, path.parent)
        if not is_regular(path):
            remove(path)
        write_atomically(path, lambda beside: beside.write_bytes(content))
