"""How a store's Zarr group is laid out: arrays, dimensions, attributes and coordinates.

All arrays are declared: by the source, the stages and the observables of the run. Columns of the
source are there when the group is made; the others are written by tasks, shard by shard.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from defectgen.samples import ATOM, Coordinate, Field, Item
from hpc.description import RunDescription

if TYPE_CHECKING:
    import zarr
    from zarr.storage import StoreLike

_MOST_ITEMS_PER_CHUNK = 8
MOST_CHUNK_BYTES = 16 << 20
LARGE_SAMPLE_BYTES = 64 << 10
"""From which on a sample can be read without its neighbours."""
MOST_GROUP_BYTES = 128 << 20
"""Of large arrays' values that are computed, and written, together."""
ABOUT_RAGGED = "what is stored of each atom of each sample: a group a shard, values and offsets"
# Few enough that they are gone again before Python's garbage collector has looked at them twice.
_ITEMS_PER_BLOCK = 128


class Declared(NamedTuple):
    """The fields of a run, by name, by who writes them and how."""

    columns: dict[str, Field]
    """Of the source's items."""
    of_samples: dict[str, Field]
    """That source and stages give with each sample."""
    observed: dict[str, Field]
    """That observables compute."""

    @property
    def written(self) -> dict[str, Field]:
        """Those that tasks write."""
        return self.of_samples | self.observed

    @property
    def dense(self) -> dict[str, Field]:
        return {name: one for name, one in self.written.items() if not one.is_ragged}

    @property
    def ragged(self) -> dict[str, Field]:
        return {name: one for name, one in self.written.items() if one.is_ragged}


def declared_fields(description: RunDescription) -> Declared:
    """All fields of a run.

    Raises:
        ValueError: two plug-ins declare the same name.
    """
    seen: dict[str, str] = {}
    for one in description.plug_ins:
        for name in (*one.fields(), *one.coordinates()):
            if name in seen:
                raise ValueError(f"{seen[name]} and {one.name} both have an array {name!r}")
            seen[name] = one.name
    of_source = description.source.fields()
    columns = {name: one for name, one in of_source.items() if not one.per_variant}
    of_samples = {name: one for name, one in of_source.items() if one.per_variant}
    for stage in description.stages:
        of_samples |= stage.fields()
    observed: dict[str, Field] = {}
    for observable in description.observables.values():
        observed |= observable.fields()
    return Declared(columns, of_samples, observed)


class ItemColumns:
    """What the store tells of its items: one array (n_items,) for each of the columns."""

    def __init__(self, fields: Mapping[str, Field], n_items: int) -> None:
        self.arrays = {name: np.empty(n_items, _dtype(one)) for name, one in fields.items()}
        self.n_items = n_items

    def noting(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass all items of the store on, in order, and fill the columns meanwhile."""
        rest, start = iter(items), 0
        while block := list(islice(rest, _ITEMS_PER_BLOCK)):
            for name, array in self.arrays.items():
                values = [getattr(item, name) for item in block]
                array[start : start + len(block)] = [math.nan if v is None else v for v in values]
            yield from block
            start += len(block)


def _dtype(field: Field) -> np.dtype:
    return np.dtypes.StringDType() if field.dtype == "str" else np.dtype(field.dtype)


def create_group(
    target: StoreLike, description: RunDescription, columns: ItemColumns, input_hash: str
) -> zarr.Group:
    """Make the group with all that is known before the first task; rows hold the fill values."""
    import zarr

    group = create_arrays(target, description, columns.n_items)
    for name, column in columns.arrays.items():
        array = cast("zarr.Array", group[name])
        # Chunk by chunk, since all at once take several times the memory of the column.
        for start in range(0, columns.n_items, array.chunks[0]):
            chunk = slice(start, start + array.chunks[0])
            array[chunk] = column[chunk]
    revisions = {"revisions": description.revisions} if description.revisions else {}
    group.attrs.update(
        {
            "title": _title(description),
            "Conventions": "CF-1.11",
            "source": f"defectpdf {version('defectpdf')}",
            "run": description.model_dump(mode="json"),
            "input_hash": input_hash,
            **revisions,
            "numpy_version": np.__version__,
        }
    )
    with warnings.catch_warnings():
        # xarray opens a store on a network disk at once by its consolidated metadata, which
        # zarr warns is not yet in the specification; and our own files stand beside the arrays.
        warnings.filterwarnings("ignore", "Consolidated metadata")
        warnings.filterwarnings("ignore", "Object at (library.json|ledger) is not recognized")
        return zarr.consolidate_metadata(target)


def _title(description: RunDescription) -> str:
    titles = [observable.title for observable in description.observables.values()]
    seen = " and ".join([titles[0], *(title[0].lower() + title[1:] for title in titles[1:])])
    return f"{seen} of {description.source.title}"


def member_names(description: RunDescription) -> list[str]:
    """The names of all that a run's store holds: its arrays and, if it has one, their group."""
    fields = declared_fields(description)
    names = {*_coordinates(description), *fields.columns, *fields.dense}
    return sorted(names | ({ATOM} if fields.ragged else set()))


def create_arrays(target: StoreLike, description: RunDescription, n_items: int) -> zarr.Group:
    """Make all arrays of a store; of those that have values by now, only the coordinates do."""
    import zarr

    fields = declared_fields(description)
    group = zarr.open_group(target, mode="a")
    sizes = {"structure": n_items} | sizes_of(description)
    for name, (values, attributes) in _coordinates(description).items():
        group.create_array(
            name, data=values, dimension_names=(name,), attributes=dict(attributes), overwrite=True
        )
    for name, field in fields.columns.items():
        group.create_array(
            name,
            shape=(n_items,),
            dtype=_dtype(field),
            dimension_names=("structure",),
            attributes=dict(field.attributes),
            overwrite=True,
        )
    for name, tiles in tiling_of(description, n_items).tiles.items():
        field = fields.dense[name]
        observed = name in fields.observed
        group.create_array(
            name,
            shape=tuple(sizes[dimension] for dimension in dimensions_of(field)),
            shards=tiles.group if observed or not tiles.is_small else None,
            chunks=tiles.chunk if observed or not tiles.is_small else tiles.group,
            dtype=field.dtype,
            fill_value=field.fill,
            dimension_names=dimensions_of(field),
            attributes={**field.attributes, **({"coordinates": "id"} if observed else {})},
            overwrite=True,
        )
    if fields.ragged:
        group.create_group(ATOM, overwrite=True, attributes={"long_name": ABOUT_RAGGED})
    return group


def _coordinates(description: RunDescription) -> dict[str, Coordinate]:
    coordinates: dict[str, Coordinate] = {}
    for one in (*description.observables.values(), *description.stages, description.source):
        coordinates |= one.coordinates()
    numbers = np.arange(description.source.n_variants, dtype="int32")
    about = {"long_name": "variant of the host; 0 is the pristine host"}
    return coordinates | {"variant": Coordinate(numbers, about)}


def dimensions_of(field: Field) -> tuple[str, ...]:
    """All dimensions of a field's array."""
    first = ("structure", "variant") if field.per_variant else ("structure",)
    return first + field.dims


class Tiles(NamedTuple):
    """How an array is divided: shapes of what is read, and of what is written, together."""

    chunk: tuple[int, ...]
    group: tuple[int, ...]
    is_small: bool
    """Whether all that one task gives is in one group, and may be in one chunk."""


class Tiling(NamedTuple):
    """How a run's samples are computed and its dense arrays divided."""

    items: int
    """That are computed and written together, with all their samples if it is more than one."""
    samples: int
    """Of an item that are computed and written together."""
    tiles: dict[str, Tiles]
    """Of the dense arrays that tasks write, by name."""


def tiling_of(description: RunDescription, n_items: int) -> Tiling:
    """The tiling of a run, by sizes in bytes.

    All of a shard is together, unless the values of large arrays would take more than
    MOST_GROUP_BYTES.
    """
    sizes, fields = sizes_of(description), declared_fields(description).dense
    own = {name: tuple(sizes[one] for one in field.dims) for name, field in fields.items()}
    n_bytes = {
        name: np.dtype(field.dtype).itemsize * math.prod(own[name])
        for name, field in fields.items()
    }
    whole = min(description.hosts_per_shard, n_items), description.source.n_variants
    small = {name: math.prod(whole) * size <= MOST_CHUNK_BYTES for name, size in n_bytes.items()}
    group = _together(whole, sum(size for name, size in n_bytes.items() if not small[name]))
    tiles = {}
    for name, field in fields.items():
        together = whole if small[name] else group
        first = len(dimensions_of(field)) - len(field.dims)
        inner = _small_enough(own[name], MOST_CHUNK_BYTES // np.dtype(field.dtype).itemsize)
        outer = tuple(-(-size // step) * step for size, step in zip(own[name], inner, strict=True))
        chunk = _read_together(together, n_bytes[name])
        tiles[name] = Tiles((*chunk[:first], *inner), (*together[:first], *outer), small[name])
    return Tiling(*group, tiles)


def _together(whole: tuple[int, int], sample_bytes: int) -> tuple[int, int]:
    """Items, and samples of each, that are computed together of those of a whole task."""
    items, samples = whole
    if items * samples * sample_bytes <= MOST_GROUP_BYTES:
        return whole
    if samples * sample_bytes <= MOST_GROUP_BYTES:
        return _divisor(items, MOST_GROUP_BYTES // (samples * sample_bytes)), samples
    return 1, max(1, MOST_GROUP_BYTES // sample_bytes)


def _read_together(group: tuple[int, int], sample_bytes: int) -> tuple[int, int]:
    """Items and samples of a chunk: few hosts where samples are small, one sample where not."""
    if sample_bytes >= LARGE_SAMPLE_BYTES:
        return 1, 1
    items, samples = math.gcd(group[0], _MOST_ITEMS_PER_CHUNK), group[1]
    while items > 1 and items * samples * sample_bytes > MOST_CHUNK_BYTES:
        items //= 2
    return items, _divisor(samples, max(1, MOST_CHUNK_BYTES // sample_bytes))


def sizes_of(description: RunDescription) -> dict[str, int]:
    """Length of each dimension but `structure`."""
    return {name: len(one.values) for name, one in _coordinates(description).items()}


def _divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is no larger than `most`."""
    return next(one for one in range(min(number, most), 0, -1) if number % one == 0)


def _small_enough(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """A shape of no more than so many elements: the first axes of a larger one are divided."""
    divided = list(shape)
    for axis in range(len(shape)):
        if math.prod(divided) <= most:
            break
        divided[axis] = max(1, most // math.prod(divided[axis + 1 :]))
    return tuple(divided)
