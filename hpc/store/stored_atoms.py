"""The source "store": atoms that another run has stored, observed without making them anew."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from defectgen.hosts.library import take
from defectgen.point_defects.settings import DefectSettings
from defectgen.samples import Coordinate, Field, Item, Sample
from hpc.description import RunDescription
from hpc.observables.atoms import Atoms, atoms_from
from hpc.store.layout import Declared, declared_fields
from hpc.store.ledger import DoneRecord, read_records
from hpc.store.ragged import RaggedShard, ragged_folder
from hpc.store.store import Store
from pdfcalc.crystals.structure import AtomicStructure

log = logging.getLogger(__name__)


class StoredAtoms(BaseModel):
    """Samples whose atoms a run with [observable.atoms] has stored, and what it knew of them.

    Items that were quarantined there are left out. Once it is located, its settings also say which
    store it was and what that was made of, so that what is made of it can be read without it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str] = "store"
    revision: ClassVar[int] = 1
    locating: ClassVar[frozenset[str]] = frozenset({"path", "origin"})

    path: Path
    limit: int | None = Setting(None, ge=1, description="use only so many, evenly from the whole")
    store_digest: str | None = Setting(None, description="as `defectpdf verify` prints it")
    origin: RunDescription | None = Setting(None, description="of the run that stored the atoms")

    @property
    def run(self) -> RunDescription:
        """Of the run that stored the atoms."""
        return self.origin or _opened(self.path).description

    @property
    def item(self) -> type[BaseModel]:
        return self.run.source.item

    @property
    def title(self) -> str:
        return self.run.source.title

    @property
    def defects(self) -> DefectSettings:
        """As of `RunDescription.defects`."""
        return self.run.defects

    @property
    def n_variants(self) -> int:
        return self.run.source.n_variants

    def fields(self) -> dict[str, Field]:
        fields = declared_fields(self.run)
        return fields.columns | _dense(fields)

    def coordinates(self) -> dict[str, Coordinate]:
        own = [self.run.source, *self.run.stages]
        return {name: values for one in own for name, values in one.coordinates().items()}

    def located(self, folder: Path | None, limit: int | None) -> StoredAtoms:
        path = (self.path if folder is None else folder / self.path).absolute()
        try:
            store = _opened(path)
        except ValueError as error:
            raise ValueError(f"source.store: {error}") from None
        if self.store_digest not in (None, store.digest):
            raise ValueError(
                f"source.store: {path} has the digest {store.digest}, not {self.store_digest}: "
                "give the store that this description is for, or leave store_digest out"
            )
        changes = {"path": path, "store_digest": store.digest, "origin": store.description}
        return self.model_copy(update=changes | ({} if limit is None else {"limit": limit}))

    def suited(self, lack: Callable[[str], str | None]) -> StoredAtoms:
        return self

    def digest(self) -> str:
        return hashlib.sha256(f"{_opened(self.path).digest} {self.limit}".encode()).hexdigest()

    def items(self) -> Sequence[Item]:
        store = _opened(self.path)
        lost = {one.id for record in store.records.values() for one in record.quarantined}
        if lost:
            log.info("%s: %d quarantined items are left out", self.path, len(lost))
        sound = np.array([place for id_, place in store.places.items() if id_ not in lost])
        if not len(sound):
            raise ValueError(f"{self.path}: no usable item; see `defectpdf status`")
        if self.limit is not None and self.limit < len(sound):
            sound = sound[np.arange(self.limit) * len(sound) // self.limit]
        return take(store.items, sound)

    def size(self, item: Any) -> float:
        return self.run.source.size(item)

    def draw(self, item: Any, seed: int) -> list[Sample]:
        """As of `Source`; OSError if the store is gone, or another one by now."""
        try:
            store = _opened(self.path)
        except ValueError as error:
            raise OSError(str(error)) from None
        if store.digest != self.store_digest:
            raise OSError(
                f"{self.path} is another store now, whose digest was not {self.store_digest}"
            )
        place = store.places[item.id]
        names = _dense(declared_fields(store.description))
        values = {name: np.asarray(store.array(name)[place]) for name in names}
        return [
            Sample(
                key=(seed, item.id, variant),
                atoms=partial(stored_atoms, store, place, variant),
                crystal=getattr(item, "atoms", None),
                values={name: of_item[variant] for name, of_item in values.items()},
            )
            for variant in range(self.n_variants)
        ]


def _dense(fields: Declared) -> dict[str, Field]:
    """What source and stages gave with each sample, but for what they gave with each atom."""
    return {name: field for name, field in fields.of_samples.items() if not field.is_ragged}


def stored_atoms(store: Store, structure: int, variant: int) -> AtomicStructure:
    """The atoms of a row of a store that keeps them."""
    per_shard = store.description.hosts_per_shard
    folder = ragged_folder(store.path, structure // per_shard)
    shard = RaggedShard(folder, store.description.source.n_variants)
    row = structure % per_shard
    ragged = {
        name: shard.of_sample(name, row, variant)
        for name, field in Atoms().fields().items()
        if field.is_ragged
    }
    cell = np.asarray(store.array("cell_vectors")[structure, variant])
    return atoms_from(ragged | {"cell_vectors": cell})


class _AtomStore(Store):
    """A complete store of atoms."""

    @cached_property
    def places(self) -> dict[str, int]:
        return {item.id: place for place, item in enumerate(self.items)}

    @cached_property
    def records(self) -> dict[int, DoneRecord]:
        return read_records(self.ledger, self.input_hash)

    @cached_property
    def digest(self) -> str:
        """As `defectpdf verify` gives it, by what was recorded when the store was written."""
        digest = hashlib.sha256(self.input_hash.encode())
        for shard in self.shards:
            digest.update(self.records[shard.index].digest.encode())
        return digest.hexdigest()


def _opened(path: Path) -> _AtomStore:
    """The store of atoms at a path.

    Raises:
        ValueError: it is none, or not complete.
    """
    description = path / "zarr.json"
    return _cached(path, description.stat().st_mtime_ns if description.is_file() else 0)


@lru_cache(maxsize=4)
def _cached(path: Path, _: int) -> _AtomStore:
    store = _AtomStore(path)
    if Atoms.name not in store.description.observables:
        raise ValueError(f"{path} keeps no atoms: make it with [observable.atoms]")
    if len(store.records) < len(store.shards):
        raise ValueError(f"{path} is not complete: `defectpdf generate --store {path}` goes on")
    return store


PLUG_IN = StoredAtoms
