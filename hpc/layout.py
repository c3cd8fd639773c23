"""How a store's Zarr group is laid out: arrays, dimensions, attributes and coordinates."""

from __future__ import annotations

import math
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from defectgen.host import Host
from defectgen.settings import KINDS
from hpc.description import RunDescription
from hpc.observables import Observable, PairDistributionFunction

if TYPE_CHECKING:
    import zarr
    from zarr.storage import StoreLike

_HOSTS_PER_CHUNK = 8
VARIANT_ARRAYS: dict[str, tuple[str, Any, dict[str, Any]]] = {
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


def observable_of(description: RunDescription) -> Observable:
    """What a run computes for each variant."""
    return PairDistributionFunction(description.pdf)


def create_group(
    target: StoreLike, description: RunDescription, hosts: list[Host], input_hash: str
) -> zarr.Group:
    """Make the group with all that is known before the first task; rows hold the fill values."""
    import zarr

    group = zarr.open_group(target, mode="a")
    _create_coordinates(group, description)
    _create_host_columns(group, hosts)
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
        return zarr.consolidate_metadata(target)


def _create_coordinates(group: zarr.Group, description: RunDescription) -> None:
    coordinates = observable_of(description).coordinates()
    coordinates["variant"] = (
        np.arange(description.defects.n_variants, dtype="int32"),
        {"long_name": "variant of the host; 0 is the pristine host"},
    )
    for name, (values, attributes) in coordinates.items():
        group.create_array(
            name, data=values, dimension_names=(name,), attributes=attributes, overwrite=True
        )


def _create_host_columns(group: zarr.Group, hosts: list[Host]) -> None:
    for name, (dtype, attributes) in _HOST_COLUMNS.items():
        values = [getattr(host, name) for host in hosts]
        column = np.array(
            [math.nan if value is None else value for value in values],
            dtype=np.dtypes.StringDType() if dtype is str else dtype,
        )
        group.create_array(
            name,
            data=column,
            dimension_names=("structure",),
            attributes=attributes,
            overwrite=True,
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
    for name, (dtype, fill_value, attributes) in VARIANT_ARRAYS.items():
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
