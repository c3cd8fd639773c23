"""A store as arrays by name. What they mean is known to the problems alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hpc.store.inspect import status
from pdfcalc.reading import UnusableFile

if TYPE_CHECKING:
    import zarr


@dataclass(frozen=True)
class Dataset:
    """A finished store, opened for reading; S structures, V variants of each.

    Raises:
        ValueError: from any method that reads: the store is damaged there, or has no such array.
    """

    path: Path
    group: zarr.Group

    @classmethod
    def open(cls, path: Path | str) -> Dataset:
        """ValueError if there is no store, if it is not finished, or repeats ids."""
        import zarr

        from hpc.store.own_files import OwnFiles

        path = Path(path)
        try:
            data = cls(path, zarr.open_group(OwnFiles(path, read_only=True), mode="r"))
            names = data.id
        except (FileNotFoundError, NotADirectoryError, zarr.errors.BaseZarrError) as error:
            raise ValueError(f"{path} is not a store of `defectpdf generate`: {error}") from error
        except UnusableFile as error:
            raise ValueError(_damaged(path, error)) from error
        if (path / "ledger").is_dir() and (missing := status(path)["n_missing"]):
            raise ValueError(
                f"{path} is not finished, {missing} hosts are missing; "
                "run the same `defectpdf generate` again"
            )
        if len(np.unique(names)) != len(names):
            raise ValueError(f"{path} repeats structure ids; a split needs unique ones")
        return data

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of all arrays."""
        return tuple(sorted(name for name, _ in self.group.arrays()))

    @cached_property
    def id(self) -> np.ndarray:
        """(S,) str, which no two structures share."""
        return self.column("id")

    @property
    def attributes(self) -> dict[str, Any]:
        """Of the store as a whole, among them `run`, its description, where it has one."""
        return dict(self.group.attrs)

    @property
    def description(self) -> dict[str, Any]:
        """The run description that the store was made from; empty where it has none."""
        return self.attributes.get("run", {})

    def array(self, name: str) -> zarr.Array:
        """Opened, not read."""
        try:
            return cast("zarr.Array", self.group[name])
        except KeyError as error:
            raise ValueError(f"{self.path} is not a store with an array {name!r}") from error
        except (UnusableFile, ValueError, RuntimeError) as error:
            raise ValueError(_damaged(self.path, error)) from error

    def dims(self, name: str) -> tuple[str, ...]:
        """Names of an array's dimensions, as of `structure, variant, r`."""
        return tuple(of or "" for of in self.array(name).metadata.dimension_names or ())  # type: ignore[union-attr]

    def attributes_of(self, name: str) -> dict[str, Any]:
        """Attributes of an array, `long_name` and `units` among them."""
        return dict(self.array(name).attrs)

    def column(self, name: str) -> np.ndarray:
        """All of an array, of str where it holds text."""
        array = self.array(name)
        try:
            values = np.asarray(array)
        except (UnusableFile, ValueError, RuntimeError) as error:  # of checksums, of unpacking
            raise ValueError(_damaged(self.path, error)) from error
        is_text = values.dtype.kind in "TO"
        return values.astype(object).astype(str) if is_text else values

    def read(
        self, name: str, structures: np.ndarray | None = None, variants: slice = slice(None)
    ) -> np.ndarray:
        """(n, v, ...) of ascending structures, of all if none are given."""
        array: Any = self.array(name)
        try:
            if structures is None:
                return np.asarray(array[:, variants])
            return np.asarray(array.oindex[structures, variants])
        except (UnusableFile, ValueError, RuntimeError) as error:
            raise ValueError(_damaged(self.path, error)) from error

    def empty(self, name: str) -> np.ndarray:
        """(0, ...) of the shape and type of an array."""
        array = self.array(name)
        return np.empty((0, *array.shape[1:]), array.dtype)

    def block_size(self, name: str) -> int:
        """Structures that are written, and best read, together: those of a shard."""
        array = self.array(name)
        return (array.shards or array.chunks)[0]

    def bytes_per_structure(self, name: str) -> int:
        """Of an array, in memory."""
        array = self.array(name)
        return int(np.prod(array.shape[1:])) * array.dtype.itemsize


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is damaged ({error}); `defectpdf verify` says where"
