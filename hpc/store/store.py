"""The Zarr store of a run: opening, making, and reading it by shards.

PATH/                     Zarr v3 group that xarray.open_zarr opens (hpc/store/layout.py)
    g, label, ...         arrays, sharded along `structure`: hpc/store/shards.py writes them
    atom/000000/          what is stored of each atom, if anything is (hpc/store/ragged.py)
    library.json          the items, so that the store is complete in itself
    ledger/               what was done, by whom, from what (hpc/store/ledger.py, inputs.py)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from pydantic import ValidationError

from defectgen.hosts.library import write_library
from defectgen.samples import Item
from hpc.description import RunDescription, first_mistake
from hpc.limits import remedy_of
from hpc.plan import Shard, plan_shards
from hpc.store.inputs import InputHash, items_of, write_record
from hpc.store.layout import (
    Declared,
    ItemColumns,
    Tiling,
    create_group,
    declared_fields,
    sizes_of,
    tiling_of,
)
from hpc.store.ledger import DoneRecord
from hpc.store.places import remove
from hpc.store.shards import shard_digest, sync_tree
from pdfcalc.reading import UnusableFile

if TYPE_CHECKING:
    import zarr


class Store:
    """A run's store, opened for reading or for writing shards that exist."""

    def __init__(self, path: Path, mode: Literal["r", "r+"] = "r") -> None:
        """Open the store.

        Raises:
            ValueError: there is no store of this toolkit at `path`.
        """
        import zarr

        from hpc.store.own_files import OwnFiles

        self.path = path
        try:
            files = OwnFiles(path, read_only=mode == "r")
            self.group: zarr.Group = zarr.open_group(files, mode=mode, use_consolidated=False)
            self.description = RunDescription.model_validate(self.group.attrs["run"])
        except (FileNotFoundError, NotADirectoryError, KeyError):
            raise ValueError(
                f"{path} is not a store written by `defectpdf generate`: no zarr.json says so"
            ) from None
        except ValidationError as error:
            raise ValueError(f"{path}: its run description: {first_mistake(error)}") from None
        except (UnusableFile, ValueError) as error:
            raise ValueError(
                f"{path / 'zarr.json'} is damaged ({error}): `generate RUN.toml --repair` with the "
                "description that the store was made from puts it right"
            ) from None

    @cached_property
    def items(self) -> Sequence[Item]:
        """The items, read from disk as they are asked for."""
        return items_of(self)

    @cached_property
    def shards(self) -> list[Shard]:
        return plan_shards(self.n_items, self.description.hosts_per_shard)

    @cached_property
    def n_items(self) -> int:
        """Number of items.

        Raises:
            ValueError: the metadata of all arrays are lost.
        """
        for name in self.fields.dense:
            try:
                return self.array(name).shape[0]
            # Damaged; another array knows it too.
            except (KeyError, TypeError, UnusableFile, ValueError):
                continue
        raise ValueError(f"{self.path} has lost its arrays: `generate --repair` makes them anew")

    @cached_property
    def input_hash(self) -> str:
        """Hash of all that decides the contents: the description and the items."""
        return str(self.group.attrs["input_hash"])

    @property
    def revisions(self) -> dict[str, int]:
        """Of the formulas that the store was begun with, as of `RunDescription.revisions`."""
        return dict(cast("dict[str, int]", self.group.attrs.get("revisions", {})))

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Length of each dimension but `structure`."""
        return sizes_of(self.description)

    @cached_property
    def fields(self) -> Declared:
        """What the run declares."""
        return declared_fields(self.description)

    @cached_property
    def tiling(self) -> Tiling:
        """How the samples are computed and the arrays divided."""
        return tiling_of(self.description, self.n_items)

    @property
    def ledger(self) -> Path:
        return self.path / "ledger"

    def blocks(self, name: str, shard: Shard) -> Iterator[np.ndarray]:
        """The values of a shard in one array, every byte from disk, some rows at a time."""
        array = self.array(name)
        items, samples, _ = self.tiling
        for start in range(shard.start, shard.stop, items):
            rows = slice(start, min(start + items, shard.stop))
            if items > 1 or array.ndim < 2 or samples >= array.shape[1]:
                yield np.asarray(array[rows])
                continue
            for first in range(0, array.shape[1], samples):
                yield np.asarray(array[rows, first : first + samples])

    def is_intact(self, shard: Shard, record: DoneRecord) -> bool:
        """Whether a shard can be read and holds what was written."""
        # Damage takes many forms, from a missing file to a failing codec.
        try:
            return shard_digest(self, shard) == record.digest
        except Exception as error:
            if remedy_of(error):
                raise
            return False

    def array(self, name: str) -> zarr.Array:
        """The array of this name."""
        return cast("zarr.Array", self.group[name])


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


def sweep_partial_files(path: Path) -> None:
    """Remove what writers that were killed left half-written anywhere in a store.

    For a store that nobody else writes to.
    """
    for partial in path.rglob("*.partial"):
        remove(partial)


def _holds_nothing(path: Path) -> bool:
    """Whether a folder holds only the locks of a store that is about to be made."""
    ledger = path / "ledger"
    return all(
        entry == ledger or (entry.parent == ledger and entry.name.endswith("lock"))
        for entry in path.rglob("*")
    )
