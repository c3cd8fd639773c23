"""Shards of a store: written group by group as samples are computed, read for their digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpc.limits import remedy_of
from hpc.plan import Shard
from hpc.store.ledger import DoneRecord
from hpc.store.places import make_folders, remove
from hpc.store.ragged import RaggedShard, RaggedWriter, ragged_folder
from hpc.store.store import Store
from pdfcalc.files import sync


class ShardWriter:
    """Takes the values of a shard's samples, in order, and writes those of a group together.

    What a group is depends on the description alone. The memory is that of one group, and of the
    arrays of which a shard is small. Used as a context; when it is left without an error all is on
    the disk, also if the power fails.

    Attributes:
        n_samples: of an item, to be computed together.
    """

    def __init__(self, store: Store, shard: Shard) -> None:
        self._store, self._shard = store, shard
        self._fields = store.fields
        self._items, self.n_samples, self._tiles = store.tiling
        self._n_variants = store.description.source.n_variants
        self._whole = self._blank([n for n, tiles in self._tiles.items() if tiles.is_small])
        self._large = [name for name, tiles in self._tiles.items() if not tiles.is_small]
        self._group: dict[str, np.ndarray] = {}
        self._at = (-1, -1)
        self._ragged: RaggedWriter | None = None
        self._of_item: dict[str, list[np.ndarray]] = {}

    def __enter__(self) -> ShardWriter:
        self._remove_old()
        if self._fields.ragged:
            sizes = self._store.sizes
            shapes = {
                name: tuple(sizes[one] for one in field.dims[1:])
                for name, field in self._fields.ragged.items()
            }
            folder = ragged_folder(self._store.path, self._shard.index)
            self._ragged = RaggedWriter(folder, self._fields.ragged, shapes)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            return
        self._flush()
        rows = slice(self._shard.start, self._shard.stop)
        for name, values in self._whole.items():
            self._store.array(name)[rows] = values
        if self._ragged:
            self._ragged.close()
        for folder in self._folders():
            sync_tree(folder)

    def put(self, row: int, first: int, values: Mapping[str, Any]) -> None:
        """Take the values of samples from number `first` on, of the item of a row of the shard.

        Args:
            values: (samples, ...) by field; of a column one value, of a ragged field an array a
                sample.
        """
        at = row // self._items, first // self.n_samples
        if self._large and at != self._at:
            self._flush()
            self._at, self._group = at, self._blank(self._large, self._group_shape(at))
        for name, field in self._fields.written.items():
            if field.is_ragged:
                self._of_item.setdefault(name, []).extend(values[name])
            elif not field.per_variant:
                self._buffer(name)[self._row_of(name, row)] = values[name]
            else:
                start = first if name in self._whole else first % self.n_samples
                stop = start + len(values[name])
                self._buffer(name)[self._row_of(name, row), start:stop] = values[name]

    def end_item(self) -> None:
        """The item's samples are complete."""
        if self._ragged:
            self._ragged.add(self._of_item, self._n_variants)
            self._of_item = {}

    def blank(self, row: int) -> None:
        """The item of a row has failed: none of its values stay."""
        self._of_item = {}
        for name, field in self._fields.dense.items():
            if name in self._whole or row // self._items == self._at[0]:
                self._buffer(name)[self._row_of(name, row)] = field.fill
            if name in self._large and self.n_samples < self._n_variants:
                self._store.array(name)[self._shard.start + row] = field.fill
        self.end_item()

    def _buffer(self, name: str) -> np.ndarray:
        return self._whole[name] if name in self._whole else self._group[name]

    def _row_of(self, name: str, row: int) -> int:
        return row if name in self._whole else row % self._items

    def _group_shape(self, at: tuple[int, int]) -> tuple[int, int]:
        """Items and samples of a group, of which the last ones may be smaller."""
        items = min(self._items, self._shard.n_items - at[0] * self._items)
        return items, min(self.n_samples, self._n_variants - at[1] * self.n_samples)

    def _blank(
        self, names: list[str], shape: tuple[int, int] | None = None
    ) -> dict[str, np.ndarray]:
        """Arrays of fill values for items and samples, for all of the shard if none are given."""
        items, samples = shape or (self._shard.n_items, self._store.description.source.n_variants)
        blank = {}
        for name in names:
            field, own = self._fields.dense[name], self._store.array(name).shape
            first = (items, samples) if field.per_variant else (items,)
            full = (*first, *own[len(first) :])
            blank[name] = np.full(full, field.fill, dtype=field.dtype)
        return blank

    def _flush(self) -> None:
        start = self._shard.start + self._at[0] * self._items
        first = self._at[1] * self.n_samples
        for name, values in self._group.items():
            rows = slice(start, start + len(values))
            if self._fields.dense[name].per_variant:
                columns = slice(first, first + values.shape[1])
                self._store.array(name)[rows, columns] = values
            else:
                self._store.array(name)[rows] = values
        self._group = {}

    def _remove_old(self) -> None:
        # A writer that was killed may have left part of a file, and zarr would read a damaged
        # shard before it writes it anew.
        for folder in self._folders():
            if os.path.lexists(folder.parent):
                make_folders(self._store.path, folder.parent)
                remove(folder)
        # What a column has here is no folder but a file, with a half-written one beside it.
        for name, tiles in self._tiles.items():
            if len(tiles.group) == 1:
                number = self._shard.start // tiles.group[0]
                for partial in (self._store.path / name / "c").glob(f"{number}.*.partial"):
                    remove(partial)

    def _folders(self) -> list[Path]:
        """Where the values of this shard are, whether there are such folders or not."""
        folders = []
        for name, tiles in self._tiles.items():
            first = self._shard.start // tiles.group[0]
            last = -(-self._shard.stop // tiles.group[0])
            chunks = self._store.path / name / "c"
            folders += [chunks / str(number) for number in range(first, last)]
        if self._fields.ragged:
            folders.append(ragged_folder(self._store.path, self._shard.index))
        return folders


def sync_tree(folder: Path) -> None:
    """Have the system write a folder, its entry and all that is in it to the disk."""
    for path in [folder.parent, folder, *folder.rglob("*")] if folder.exists() else []:
        if path.is_dir() or path.is_file():  # a pipe would be waited for
            sync(path)


def shard_digest(store: Store, shard: Shard) -> str:
    """Hash of a shard's values as they are on the disk, whatever their layout and compression."""
    digest = hashlib.sha256()
    ragged = None
    if store.fields.ragged:
        folder = ragged_folder(store.path, shard.index)
        ragged = RaggedShard(folder, store.description.source.n_variants)
    for name in sorted(store.fields.written):
        digest.update(name.encode())
        if ragged and store.fields.written[name].is_ragged:
            digest.update(np.ascontiguousarray(ragged.offset).tobytes())
            blocks = ragged.blocks(name)
        else:
            blocks = store.blocks(name, shard)
        for block in blocks:
            digest.update(np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()


def is_intact(store: Store, shard: Shard, record: DoneRecord) -> bool:
    """Whether a shard can be read and holds what was written."""
    # Damage takes many forms, from a missing file to a failing codec.
    try:
        return shard_digest(store, shard) == record.digest
    except Exception as error:
        if remedy_of(error):
            raise
        return False
