"""The Zarr store of a run: opening, making, reading and writing it by shards.

PATH/                     Zarr v3 group that xarray.open_zarr opens (hpc/layout.py)
    g, label, ...         arrays, sharded along `structure`: one shard for each task
    library.json          the hosts, so that the store is complete in itself
    ledger/000000.json    what was done, by task (hpc/ledger.py)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from pydantic import ValidationError

from defectgen.host import Host
from defectgen.library import read_library, write_library
from hpc.description import RunDescription, differences, first_mistake
from hpc.layout import VARIANT_ARRAYS, create_group, observable_of
from hpc.ledger import DoneRecord
from hpc.observables import Observable
from hpc.plan import Task, plan_tasks

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

        self.path = path
        try:
            self.group: zarr.Group = zarr.open_group(path, mode=mode, use_consolidated=False)
            self.description = RunDescription.model_validate(self.group.attrs["run"])
        except (FileNotFoundError, NotADirectoryError, KeyError):
            raise ValueError(f"{path} is not a store written by `defectpdf generate`") from None
        except ValidationError as error:
            raise ValueError(f"{path}: its run description: {first_mistake(error)}") from None
        except ValueError as error:
            raise ValueError(f"{path / 'zarr.json'} is damaged: {error}") from None

    @cached_property
    def hosts(self) -> list[Host]:
        return read_library(self.path / "library.json")

    @cached_property
    def tasks(self) -> list[Task]:
        return plan_tasks(len(self.hosts), self.description.hosts_per_shard)

    @cached_property
    def input_hash(self) -> str:
        """Hash of all that decides the contents: the description and the hosts."""
        return str(self.group.attrs["input_hash"])

    @cached_property
    def observable(self) -> Observable:
        return observable_of(self.description)

    @property
    def ledger(self) -> Path:
        return self.path / "ledger"

    @property
    def variant_arrays(self) -> list[str]:
        """The names of the arrays that tasks write."""
        return [self.observable.name, *VARIANT_ARRAYS]

    def write_shard(self, task: Task, rows: Mapping[str, np.ndarray]) -> None:
        """Write the rows (n_hosts, V, ...) of each of `variant_arrays` for one task.

        They are on the disk when it returns, also if the power fails, and whatever a writer that
        was killed had left of them is gone.
        """
        for name in self.variant_arrays:
            folder = self.path / name / "c" / str(task.index)
            for partial in folder.rglob("*.partial"):
                partial.unlink(missing_ok=True)
            self.array(name)[task.start : task.stop] = rows[name]
            _sync(folder)

    def read_shard(self, task: Task) -> dict[str, np.ndarray]:
        """Read back what `write_shard` wrote, every byte from disk."""
        return {
            name: np.asarray(self.array(name)[task.start : task.stop])
            for name in self.variant_arrays
        }

    def is_intact(self, task: Task, record: DoneRecord) -> bool:
        """Whether a shard can be read and holds what was written."""
        # Damage takes many forms, from a missing file to a failing codec.
        try:
            return shard_digest(self.read_shard(task)) == record.digest
        except Exception:
            return False

    def array(self, name: str) -> zarr.Array:
        """The array of this name."""
        return cast("zarr.Array", self.group[name])


def _sync(folder: Path) -> None:
    """Have the system write a folder, its entry and all that is in it to the disk."""
    for path in [folder.parent, folder, *folder.rglob("*")] if folder.exists() else []:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def shard_digest(rows: Mapping[str, np.ndarray]) -> str:
    """Hash of a shard's values, whatever the compression."""
    digest = hashlib.sha256()
    for name in sorted(rows):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(rows[name]).tobytes())
    return digest.hexdigest()


def open_or_create(path: Path, description: RunDescription, hosts: list[Host]) -> Store:
    """The store at `path`: a new one, or the one there if it is of the same run.

    The caller holds `hpc.locks.creating`. A store that was killed while it was made holds no
    data yet and is made again.

    Raises:
        ValueError: `path` holds something else, or a run with other settings or hosts.
    """
    input_hash = hash_inputs(description, hosts)
    unfinished = path / "ledger" / "unfinished"
    if unfinished.exists() or _holds_nothing(path):
        unfinished.touch()
        (path / "zarr.json").unlink(missing_ok=True)
        write_library(path / "library.json", hosts)
        create_group(path, description, hosts, input_hash)
        _sync(path)
        unfinished.unlink()
    store = Store(path, mode="r+")
    if store.input_hash != input_hash:
        lines = differences(
            store.description.model_dump(mode="json"), description.model_dump(mode="json")
        )
        raise ValueError(
            f"{path} holds another run ({'; '.join(lines) or 'the hosts have changed'}): "
            "use another --store, or the stored settings"
        )
    return store


def _holds_nothing(path: Path) -> bool:
    """Whether a folder holds only the locks of a store that is about to be made."""
    ledger = path / "ledger"
    return all(
        entry == ledger or (entry.parent == ledger and entry.name.endswith("lock"))
        for entry in path.rglob("*")
    )


def hash_inputs(description: RunDescription, hosts: list[Host]) -> str:
    """Hash of the hosts and of all settings but those that say where the hosts came from."""
    settings = description.model_dump(mode="json", exclude={"library"})
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for host in hosts:
        digest.update(host.model_dump_json().encode())
    return digest.hexdigest()
