"""The Zarr store of a run: its layout, and reading and writing it by shards.

PATH/                     Zarr v3 group that xarray.open_zarr opens
    g, label, ...         arrays, sharded along `structure`: one shard for each task
    library.json          the hosts, so that the store is complete in itself
    ledger/00000.json     what was done, by task (hpc/ledger.py)
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from defectgen.host import Host
from defectgen.library import read_library, write_library
from defectgen.settings import KINDS
from hpc.description import RunDescription, differences
from hpc.observables import Observable, PairDistributionFunction
from hpc.plan import Task, plan_tasks

if TYPE_CHECKING:
    import zarr

_HOSTS_PER_CHUNK = 8
_VARIANT_ARRAYS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "label": (
        "int8",
        -1,
        {
            "long_name": "kind of defect; -1 where the host failed",
            "flag_values": list(range(len(KINDS) + 1)),
            "flag_meanings": " ".join(("pristine", *KINDS)),
        },
    ),
    "concentration": (
        "float32",
        math.nan,
        {"long_name": "defects as a fraction of host atoms", "units": "1"},
    ),
    "impurity": (
        "uint8",
        0,
        {"long_name": "atomic number of the impurity; 0 where there is none", "units": "1"},
    ),
    "n_atoms": ("int32", 0, {"long_name": "atoms in the supercell", "units": "1"}),
}
_HOST_COLUMNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "id": (str, {"long_name": "host"}),
    "element": (str, {"long_name": "host element"}),
    "space_group": ("int16", {"long_name": "space group number", "units": "1"}),
    "a": ("float64", {"long_name": "conventional cell length a", "units": "angstrom"}),
    "c": ("float64", {"long_name": "conventional cell length c", "units": "angstrom"}),
    "uiso": ("float64", {"long_name": "mean-square displacement", "units": "angstrom2"}),
    "temperature": (
        "float64",
        {"long_name": "temperature; NaN where not reported", "units": "kelvin"},
    ),
    "pressure": (
        "float64",
        {"long_name": "pressure; NaN where not reported", "units": "gigapascal"},
    ),
    "origin": (str, {"long_name": "published, derived or cif"}),
    "source": (str, {"long_name": "citation or file of the host"}),
}


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
            run = self.group.attrs["run"]
        except (FileNotFoundError, KeyError):
            raise ValueError(f"{path} is not a store written by `defectpdf generate`") from None
        self.description = RunDescription.model_validate(run)

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
        return PairDistributionFunction(self.description.pdf)

    @property
    def ledger(self) -> Path:
        return self.path / "ledger"

    @property
    def variant_arrays(self) -> list[str]:
        """The names of the arrays that tasks write."""
        return [self.observable.name, *_VARIANT_ARRAYS]

    def write_shard(self, task: Task, rows: Mapping[str, np.ndarray]) -> None:
        """Write the rows (n_hosts, V, ...) of each of `variant_arrays` for one task."""
        for name in self.variant_arrays:
            self.array(name)[task.start : task.stop] = rows[name]

    def read_shard(self, task: Task) -> dict[str, np.ndarray]:
        """Read back what `write_shard` wrote, every byte from disk."""
        return {
            name: np.asarray(self.array(name)[task.start : task.stop])
            for name in self.variant_arrays
        }

    def array(self, name: str) -> zarr.Array:
        """The array of this name."""
        return cast("zarr.Array", self.group[name])


def shard_digest(rows: Mapping[str, np.ndarray]) -> str:
    """Hash of a shard's values, whatever the compression."""
    digest = hashlib.sha256()
    for name in sorted(rows):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(rows[name]).tobytes())
    return digest.hexdigest()


def open_or_create(path: Path, description: RunDescription, hosts: list[Host]) -> Store:
    """The store at `path`: a new one, or the one there if it is of the same run.

    The caller holds the store's lock. Creation ends with the consolidated metadata; a
    store without it was killed while it was made, holds no data yet, and is made again.

    Raises:
        ValueError: `path` holds something else, or a run with other settings or hosts.
    """
    input_hash = hash_inputs(description, hosts)
    if not _is_complete(path):
        _create(path, description, hosts, input_hash)
    store = Store(path, mode="r+")
    lines = differences(
        store.description.model_dump(mode="json"), description.model_dump(mode="json")
    )
    if lines:
        raise ValueError(
            f"{path} holds a run with other settings ({'; '.join(lines)}): "
            "use another --store, or the stored settings"
        )
    if store.input_hash != input_hash:
        raise ValueError(f"{path} was made from other hosts than {description.library.source} has")
    return store


def _is_complete(path: Path) -> bool:
    try:
        return "consolidated_metadata" in json.loads((path / "zarr.json").read_bytes())
    except FileNotFoundError:
        return False


def hash_inputs(description: RunDescription, hosts: list[Host]) -> str:
    digest = hashlib.sha256(
        json.dumps(description.model_dump(mode="json"), sort_keys=True).encode()
    )
    for host in hosts:
        digest.update(host.model_dump_json().encode())
    return digest.hexdigest()


def _create(path: Path, description: RunDescription, hosts: list[Host], input_hash: str) -> None:
    import zarr

    for record in (path / "ledger").glob("*.json"):
        record.unlink()
    write_library(path / "library.json", hosts)
    group = zarr.open_group(path, mode="a")
    observable = PairDistributionFunction(description.pdf)
    attributes = {
        "variant": {"long_name": "variant of the host; 0 is the pristine host"},
        **{name: attributes for name, (_, attributes) in observable.coordinates().items()},
    }
    for name, values in coordinate_values(description).items():
        group.create_array(
            name,
            data=values,
            dimension_names=(name,),
            attributes=attributes[name],
            overwrite=True,
        )
    for name, values in host_columns(hosts).items():
        group.create_array(
            name,
            data=values,
            dimension_names=("structure",),
            attributes=_HOST_COLUMNS[name][1],
            overwrite=True,
        )
    _create_variant_arrays(group, description, len(hosts))
    group.attrs.update(
        {
            "title": "Pair distribution functions of elemental metals with point defects",
            "Conventions": "CF-1.11",
            "source": f"defectpdf {version('defectpdf')}",
            "run": description.model_dump(mode="json"),
            "input_hash": input_hash,
            "numpy_version": np.__version__,
        }
    )
    with warnings.catch_warnings():
        # xarray opens a store on a network disk at once by its consolidated metadata, which
        # zarr warns is not yet in the specification; and our own files stand beside the arrays.
        warnings.filterwarnings("ignore", "Consolidated metadata")
        warnings.filterwarnings("ignore", "Object at (library.json|ledger) is not recognized")
        zarr.consolidate_metadata(path)


def coordinate_values(description: RunDescription) -> dict[str, np.ndarray]:
    """Values of the coordinates of `variant` and of the observable's own dimensions."""
    variants = {"variant": np.arange(description.defects.n_variants, dtype="int32")}
    observable = PairDistributionFunction(description.pdf)
    return variants | {name: values for name, (values, _) in observable.coordinates().items()}


def host_columns(hosts: list[Host]) -> dict[str, np.ndarray]:
    """The columns that describe the hosts, each (n_hosts,)."""
    columns = {}
    for name, (dtype, _) in _HOST_COLUMNS.items():
        values = [getattr(host, name) for host in hosts]
        columns[name] = np.array(
            [math.nan if value is None else value for value in values],
            dtype=np.dtypes.StringDType() if dtype is str else dtype,
        )
    return columns


def _create_variant_arrays(group: zarr.Group, description: RunDescription, n_hosts: int) -> None:
    observable = PairDistributionFunction(description.pdf)
    extent = {name: len(values) for name, (values, _) in observable.coordinates().items()}
    n_variants, shard = description.defects.n_variants, description.hosts_per_shard
    group.create_array(
        observable.name,
        shape=(n_hosts, n_variants, *extent.values()),
        shards=(shard, n_variants, *extent.values()),
        chunks=(math.gcd(shard, _HOSTS_PER_CHUNK), n_variants, *extent.values()),
        dtype="float32",
        fill_value=math.nan,
        dimension_names=("structure", "variant", *extent),
        attributes={**observable.attributes, "coordinates": "id"},
        overwrite=True,
    )
    for name, (dtype, fill_value, attributes) in _VARIANT_ARRAYS.items():
        group.create_array(
            name,
            shape=(n_hosts, n_variants),
            chunks=(shard, n_variants),
            dtype=dtype,
            fill_value=fill_value,
            dimension_names=("structure", "variant"),
            attributes=attributes,
            overwrite=True,
        )
