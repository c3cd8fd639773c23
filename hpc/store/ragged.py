"""Ragged fields: what a store has of each atom, for samples of any number of atoms.

PATH/atom/000000/         one group a shard, made by the task that computes it
    offset                (structures * variants + 1,) first atom of each sample, in rows
    positions, ...        (atoms, ...) values, sample after sample
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from defectgen.samples import ATOM, Field

if TYPE_CHECKING:
    import zarr

OFFSET = "offset"
_CHUNK_BYTES = 256 << 10
"""So that the atoms of a sample are read with few of its neighbours'."""
_PENDING_CHUNKS = 64
"""That are kept until they are written together."""


def ragged_folder(store: Path, shard: int) -> Path:
    """Where the ragged fields of a shard are."""
    return store / ATOM / f"{shard:06d}"


class RaggedWriter:
    """Writes the ragged fields of one shard, sample after sample.

    Args:
        shapes: by field, its dimensions after ATOM.
    """

    def __init__(
        self, folder: Path, fields: Mapping[str, Field], shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        import zarr

        # Also removes what a writer that was killed has left there.
        self._group = zarr.open_group(folder, mode="w")
        self._pending: dict[str, list[np.ndarray]] = {name: [] for name in fields}
        self._rows: dict[str, int] = {}
        self._lengths: list[int] = []
        for name, field in fields.items():
            own = shapes[name]
            row_bytes = np.dtype(field.dtype).itemsize * int(np.prod(own))
            self._rows[name] = max(1, _CHUNK_BYTES // row_bytes)
            self._group.create_array(
                name,
                shape=(0, *own),
                chunks=(self._rows[name], *own),
                dtype=field.dtype,
                fill_value=field.fill,
                dimension_names=field.dims,
                attributes=dict(field.attributes),
            )

    def add(self, values: Mapping[str, Sequence[np.ndarray]], n_samples: int) -> None:
        """Append the values of an item's samples; of one that failed there are none.

        Raises:
            ValueError: fields differ in the number of a sample's atoms.
        """
        lengths = [tuple(len(one) for one in of_field) for of_field in values.values()]
        if len(set(lengths)) > 1:
            raise ValueError(f"{', '.join(values)} have different numbers of atoms")
        self._lengths += lengths[0] if lengths else [0] * n_samples
        for name, of_samples in values.items():
            self._pending[name] += [np.asarray(one) for one in of_samples]
            rows = self._rows[name] * _PENDING_CHUNKS
            if sum(map(len, self._pending[name])) >= rows:
                self._write(name, rows)

    def close(self) -> None:
        """Write what is pending, and the offsets."""
        for name, pending in self._pending.items():
            if pending:
                self._write(name, sum(map(len, pending)))
        offset = np.concatenate([[0], np.cumsum(self._lengths, dtype=np.int64)])
        self._group.create_array(OFFSET, data=offset, dimension_names=("sample",))

    def _write(self, name: str, multiple: int) -> None:
        """Write as many whole multiples of rows as are pending."""
        joined = np.concatenate(self._pending[name])
        ready = len(joined) // multiple * multiple if multiple else 0
        array = cast("zarr.Array", self._group[name])
        array.append(joined[:ready].astype(array.dtype))
        self._pending[name] = [joined[ready:]]


class RaggedShard:
    """The ragged fields of one shard, read as they are asked for."""

    def __init__(self, folder: Path, n_variants: int) -> None:
        import zarr

        from hpc.store.own_files import OwnFiles

        files = OwnFiles(folder, read_only=True)
        self._group = zarr.open_group(files, mode="r", use_consolidated=False)
        self._n_variants = n_variants
        self.offset = np.asarray(cast("zarr.Array", self._group[OFFSET])[:])

    def of_sample(self, name: str, row: int, variant: int) -> np.ndarray:
        """(n_atoms, ...) of a sample, by its row in the shard and its variant."""
        start, stop = self.offset[row * self._n_variants + variant :][:2].tolist()
        return np.asarray(cast("zarr.Array", self._group[name])[start:stop])

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """All values of a field, some at a time."""
        array = cast("zarr.Array", self._group[name])
        step = array.chunks[0] * _PENDING_CHUNKS
        for start in range(0, array.shape[0], step):
            yield np.asarray(array[start : start + step])
