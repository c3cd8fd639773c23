"""The Zarr store of a run: opening, making, reading and writing it by shards.

PATH/                     Zarr v3 group that xarray.open_zarr opens (hpc/store/layout.py)
    g, label, ...         arrays, sharded along `structure`: one shard for each task
    library.json          the hosts, so that the store is complete in itself
    ledger/000000.json    what was done, by task (hpc/store/ledger.py)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from pydantic import ValidationError

from defectgen.hosts.host import Host
from defectgen.hosts.library import open_library, write_library
from hpc.description import RunDescription, differences, first_mistake
from hpc.limits import remedy_of
from hpc.observables.pdf import Observable
from hpc.plan import Shard, Task, plan_shards, task_of
from hpc.store.layout import HostColumns, create_group, observable_of, variant_arrays
from hpc.store.ledger import DoneRecord, sync
from hpc.store.places import make_folders, remove
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
    def hosts(self) -> Sequence[Host]:
        """The hosts, read from disk as they are asked for."""
        return open_library(self.path / "library.json")

    def has_its_hosts(self) -> bool:
        """Whether library.json holds the hosts that the store was made from, which it reads."""
        try:
            return hash_inputs(self.description, self.hosts) == self.input_hash
        except ValueError:
            return False

    @cached_property
    def shards(self) -> list[Shard]:
        return plan_shards(self.n_hosts, self.description.hosts_per_shard)

    def task(self, shard: Shard) -> Task:
        return task_of(shard, self.hosts)

    @cached_property
    def n_hosts(self) -> int:
        """Number of hosts.

        Raises:
            ValueError: the metadata of all arrays are lost.
        """
        for name in self.variant_arrays:
            try:
                return self.array(name).shape[0]
            # Damaged; another array knows it too.
            except (KeyError, TypeError, UnusableFile, ValueError):
                continue
        raise ValueError(f"{self.path} has lost its arrays: `generate --repair` makes them anew")

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
        return [self.observable.name, *variant_arrays(self.description)]

    def write_shard(self, task: Task, rows: Mapping[str, np.ndarray]) -> None:
        """Write the rows (n_hosts, V, ...) of each of `variant_arrays` for one task.

        They are on the disk when it returns, also if the power fails.
        """
        folders = [self.path / name / "c" / str(task.index) for name in self.variant_arrays]
        for name, folder in zip(self.variant_arrays, folders, strict=True):
            # A writer that was killed may have left part of a file, and zarr would read a
            # damaged shard before it writes it anew.
            make_folders(self.path, folder.parent)
            remove(folder)
            self.array(name)[task.start : task.stop] = rows[name]
        # All at once, so that the file system has to write its journal once.
        for folder in folders:
            _sync(folder)

    def read_shard(self, shard: Shard | Task) -> dict[str, np.ndarray]:
        """Read back what `write_shard` wrote, every byte from disk."""
        return {
            name: np.asarray(self.array(name)[shard.start : shard.stop])
            for name in self.variant_arrays
        }

    def is_intact(self, shard: Shard | Task, record: DoneRecord) -> bool:
        """Whether a shard can be read and holds what was written."""
        # Damage takes many forms, from a missing file to a failing codec.
        try:
            return shard_digest(self.read_shard(shard)) == record.digest
        except Exception as error:
            if remedy_of(error):
                raise
            return False

    def array(self, name: str) -> zarr.Array:
        """The array of this name."""
        return cast("zarr.Array", self.group[name])


def _sync(folder: Path) -> None:
    """Have the system write a folder, its entry and all that is in it to the disk."""
    for path in [folder.parent, folder, *folder.rglob("*")] if folder.exists() else []:
        if path.is_dir() or path.is_file():  # a pipe would be waited for
            sync(path)


def shard_digest(rows: Mapping[str, np.ndarray]) -> str:
    """Hash of a shard's values, whatever the compression."""
    digest = hashlib.sha256()
    for name in sorted(rows):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(rows[name]).tobytes())
    return digest.hexdigest()


def create(path: Path, description: RunDescription, hosts: Sequence[Host]) -> Store:
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
    inputs, columns = InputHash(description), HostColumns(len(hosts))
    write_library(path / "library.json", columns.noting(inputs.noting(hosts)))
    create_group(path, description, columns, inputs.hexdigest())
    _sync(path)
    unfinished.unlink()
    return Store(path, mode="r+")


def is_to_be_made(path: Path) -> bool:
    """Whether there is no store at `path` yet, or one that was killed while it was made."""
    return (path / "ledger" / "unfinished").exists() or _holds_nothing(path)


def refuse_another_run(store: Store, description: RunDescription, input_hash: str) -> None:
    """Raise ValueError, with what differs, unless a store is of this run."""
    if store.input_hash == input_hash:
        return
    lines = differences(
        store.description.model_dump(mode="json"), description.model_dump(mode="json")
    )
    raise ValueError(
        f"{store.path} holds another run ({'; '.join(lines) or 'the hosts have changed'}): "
        "use another --store, or the stored settings"
    )


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


class InputHash:
    """Hash of the hosts and of all settings but those that say where the hosts came from."""

    def __init__(self, description: RunDescription) -> None:
        settings = description.model_dump(mode="json", exclude={"library"})
        self._digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())

    def noting(self, hosts: Iterable[Host]) -> Iterator[Host]:
        """Pass all hosts on, in order, and take them into the hash meanwhile."""
        for host in hosts:
            self._digest.update(host.model_dump_json().encode())
            yield host

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def hash_inputs(description: RunDescription, hosts: Iterable[Host]) -> str:
    """The `InputHash` of a run."""
    inputs = InputHash(description)
    for _ in inputs.noting(hosts):
        pass
    return inputs.hexdigest()


def read_inputs(description: RunDescription, hosts: Sequence[Host]) -> tuple[str, HostColumns]:
    """Hash and columns of a run's hosts, which are read once."""
    inputs, columns = InputHash(description), HostColumns(len(hosts))
    for _ in columns.noting(inputs.noting(hosts)):
        pass
    return inputs.hexdigest(), columns
