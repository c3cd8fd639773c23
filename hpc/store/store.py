"""The Zarr store of a run, opened and read by shards.

PATH/                     Zarr v3 group that xarray.open_zarr opens (hpc/store/layout.py)
    g, label, ...         arrays, sharded along `structure`: hpc/store/shards.py writes them
    atom/000000/          what is stored of each atom, if anything is (hpc/store/ragged.py)
    library.json          the items, so that the store is complete in itself
    ledger/               what was done, by whom, from what (hpc/store/ledger.py, input_record.py)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from pydantic import ValidationError

from defectgen.samples import Item
from hpc.description import RunDescription, first_mistake
from hpc.plan import Shard, plan_shards
from hpc.store.input_record import open_items
from hpc.store.layout import (
    Declared,
    Tiling,
    declared_fields,
    sizes_of,
    tiling_of,
)
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
        return open_items(self.path, self.description, self.input_hash)

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

    def array(self, name: str) -> zarr.Array:
        """The array of this name."""
        return cast("zarr.Array", self.group[name])
