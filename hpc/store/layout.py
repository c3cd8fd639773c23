"""How a store's Zarr group is laid out: arrays, dimensions, attributes and coordinates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from defectgen.hosts.host import Host
from defectgen.point_defects.settings import KIND_SETS, KINDS, set_name
from hpc.description import RunDescription
from hpc.observables.pdf import Observable, PairDistributionFunction

if TYPE_CHECKING:
    import zarr
    from zarr.storage import StoreLike

_HOSTS_PER_CHUNK = 8
# Few enough that they are gone again before Python's garbage collector has looked at them twice.
_HOSTS_PER_BLOCK = 128
HOST_COLUMNS: dict[str, tuple[Any, dict[str, Any]]] = {
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


class VariantArray(NamedTuple):
    """What a store tells of each variant beside the observable."""

    dtype: str
    fill_value: Any
    attributes: dict[str, Any]
    dimensions: tuple[str, ...] = ("structure", "variant")


def variant_arrays(description: RunDescription) -> dict[str, VariantArray]:
    """The arrays of a run's store, by name, that say what each variant is."""
    names = [set_name(kinds) for kinds in KIND_SETS[: description.defects.n_labels]]
    arrays = {
        "label": VariantArray(
            "int8",
            -1,
            {
                "long_name": "kind of defect; -1 where the host failed",
                "flag_values": list(range(len(names))),
                "flag_meanings": " ".join(names),
            },
        ),
        "concentration": VariantArray(
            "float32", math.nan, {"long_name": "defects as a fraction of host atoms", "units": "1"}
        ),
        "impurity": VariantArray(
            "uint8",
            0,
            {"long_name": "atomic number of the impurity; 0 where there is none", "units": "1"},
        ),
        "n_atoms": VariantArray("int32", 0, {"long_name": "atoms in the supercell", "units": "1"}),
    }
    if description.defects.mixed_variants:
        attributes = {"long_name": "defects of each kind in the supercell", "units": "1"}
        dimensions = ("structure", "variant", "kind")
        arrays["n_defects"] = VariantArray("int32", 0, attributes, dimensions)
    return arrays


def observable_of(description: RunDescription) -> Observable:
    """What a run computes for each variant."""
    return PairDistributionFunction(description.pdf)


class HostColumns:
    """What the store tells of its hosts: one array (n_hosts,) for each of the columns."""

    def __init__(self, n_hosts: int) -> None:
        self.arrays = {name: np.empty(n_hosts, _dtype(name)) for name in HOST_COLUMNS}
        self.n_hosts = n_hosts

    def noting(self, hosts: Iterable[Host]) -> Iterator[Host]:
        """Pass all hosts of the store on, in order, and fill the columns meanwhile."""
        rest, start = iter(hosts), 0
        while block := list(islice(rest, _HOSTS_PER_BLOCK)):
            for name, array in self.arrays.items():
                values = [getattr(host, name) for host in block]
                array[start : start + len(block)] = [math.nan if v is None else v for v in values]
            yield from block
            start += len(block)


def _dtype(column: str) -> np.dtype:
    kind = HOST_COLUMNS[column][0]
    return np.dtypes.StringDType() if kind is str else np.dtype(kind)


def create_group(
    target: StoreLike, description: RunDescription, hosts: HostColumns, input_hash: str
) -> zarr.Group:
    """Make the group with all that is known before the first task; rows hold the fill values."""
    import zarr

    group = create_arrays(target, description, hosts.n_hosts)
    for name, column in hosts.arrays.items():
        array = cast("zarr.Array", group[name])
        # Chunk by chunk, since all at once take several times the memory of the column.
        for start in range(0, hosts.n_hosts, array.chunks[0]):
            chunk = slice(start, start + array.chunks[0])
            array[chunk] = column[chunk]
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
        return zarr.consolidate_metadata(target)


def array_names(description: RunDescription) -> list[str]:
    """The names of all arrays of a run's store."""
    from zarr.storage import MemoryStore

    return sorted(create_arrays(MemoryStore(), description, n_hosts=1).array_keys())


def create_arrays(target: StoreLike, description: RunDescription, n_hosts: int) -> zarr.Group:
    """Make all arrays of a store; of those that have values by now, only the coordinates do."""
    import zarr

    group = zarr.open_group(target, mode="a")
    _create_coordinates(group, description)
    for name, (_, attributes) in HOST_COLUMNS.items():
        group.create_array(
            name,
            shape=(n_hosts,),
            dtype=_dtype(name),
            dimension_names=("structure",),
            attributes=attributes,
            overwrite=True,
        )
    _create_variant_arrays(group, description, n_hosts)
    return group


def _create_coordinates(group: zarr.Group, description: RunDescription) -> None:
    coordinates = observable_of(description).coordinates()
    coordinates["variant"] = (
        np.arange(description.defects.n_variants, dtype="int32"),
        {"long_name": "variant of the host; 0 is the pristine host"},
    )
    if description.defects.mixed_variants:
        kinds = np.array(KINDS, np.dtypes.StringDType())
        coordinates["kind"] = kinds, {"long_name": "kind of defect"}
    for name, (values, attributes) in coordinates.items():
        group.create_array(
            name, data=values, dimension_names=(name,), attributes=attributes, overwrite=True
        )


def _create_variant_arrays(group: zarr.Group, description: RunDescription, n_hosts: int) -> None:
    observable = observable_of(description)
    extent = {name: len(values) for name, (values, _) in observable.coordinates().items()}
    n_variants = description.defects.n_variants
    shard = min(description.hosts_per_shard, n_hosts)
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
    sizes = {"structure": n_hosts, "variant": n_variants, "kind": len(KINDS)}
    for name, array in variant_arrays(description).items():
        shape = tuple(sizes[dimension] for dimension in array.dimensions)
        group.create_array(
            name,
            shape=shape,
            chunks=(shard, *shape[1:]),
            dtype=array.dtype,
            fill_value=array.fill_value,
            dimension_names=array.dimensions,
            attributes=array.attributes,
            overwrite=True,
        )
