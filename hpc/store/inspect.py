"""Questions about a store that only read it: status, verification, one row's atoms."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from defectgen.samples import Resources
from hpc.limits import remedy_of
from hpc.observables.atoms import Atoms
from hpc.plan import Shard
from hpc.store.input_record import read_inputs
from hpc.store.inputs import refuse_other_formulas
from hpc.store.layout import create_arrays, member_names
from hpc.store.ledger import DoneRecord, read_records
from hpc.store.locks import is_being_written
from hpc.store.places import REMEDY, misplaced, strangers
from hpc.store.shards import shard_digest
from hpc.store.store import Store
from hpc.store.stored_atoms import stored_atoms
from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.reading import kind_of

if TYPE_CHECKING:
    import zarr


def status(path: Path) -> dict[str, Any]:
    """What is done, missing and quarantined, and while a run writes, when it will be done.

    Reads the ledger alone, so that it costs little and works from any node.
    """
    store = Store(path)
    records = read_records(store.ledger, store.input_hash)
    missing = [shard for shard in store.shards if shard.index not in records]
    n_missing = sum(shard.n_items for shard in missing)
    quarantined = [host.model_dump() for record in records.values() for host in record.quarantined]
    running = is_being_written(path)
    return {
        "store": str(path),
        "running": running,
        "complete": not missing,
        "n_structures": store.n_items,
        "n_variants": store.description.source.n_variants,
        "n_done": store.n_items - n_missing,
        "n_missing": n_missing,
        "quarantined": quarantined,
        "eta_seconds": _eta(list(records.values()), len(missing)) if running else None,
        "seconds_since_last": _age(records.values()),
        "nodes": sorted({record.node for record in records.values()}),
        "peak_memory_mib": max((r.peak_memory_mib for r in records.values()), default=None),
    }


def _age(records: Iterable[DoneRecord]) -> float | None:
    """Seconds since a shard was last finished: a sign of life where locks don't cross nodes."""
    last = max((record.finished for record in records), default=None)
    return None if last is None else round(time.time() - last, 1)


def _eta(records: list[DoneRecord], n_missing: int) -> float | None:
    """Seconds left at the pace of the records finished in the last minutes."""
    recent = [record for record in records if record.finished > time.time() - 600]
    if not recent:
        return None
    elapsed = max(r.finished for r in recent) - min(r.started for r in recent)
    return round(n_missing * elapsed / len(recent), 1)


def verify(path: Path) -> dict[str, Any]:
    """Read every byte of a store back and hold it against what was recorded when it was written.

    Returns:
        ok; digest, the same for the same run however it was computed; counts; problems.
    """
    store = Store(path)
    problems = [*_out_of_place(store), *_check_inputs(store)]
    digest = hashlib.sha256(store.input_hash.encode())
    n_missing = n_pdfs = n_quarantined = 0
    records = read_records(store.ledger, store.input_hash)
    for shard in store.shards:
        if shard.index not in records:
            n_missing += shard.n_items
            continue
        record = records[shard.index]
        found = _check_shard(store, shard, record, problems)
        digest.update((found or "unreadable").encode())
        if found:
            n_sound = shard.n_items - len(record.quarantined)
            n_pdfs += n_sound * store.description.source.n_variants
        n_quarantined += len(record.quarantined)
    if n_missing:
        problems.append(f"{n_missing} hosts are not computed yet: run generate again")
    return {
        "ok": not problems,
        "digest": digest.hexdigest(),
        "n_structures": store.n_items,
        "n_pdfs": n_pdfs,
        "of_samples": store.description.of_samples,
        "n_missing": n_missing,
        "n_quarantined": n_quarantined,
        "problems": problems,
    }


def _out_of_place(store: Store) -> Iterator[str]:
    """Problems with what is no folder or file where one should be."""
    names = member_names(store.description)
    for place in (*strangers(store.path, names), *misplaced(store.path, names)):
        kind = kind_of(place.lstat().st_mode)
        yield f"{place.relative_to(store.path)} is {kind}, which is out of place: {REMEDY}"


def _check_inputs(store: Store) -> list[str]:
    """Problems with what is written once: hosts, description, metadata, coordinates, columns."""
    import zarr
    from zarr.storage import MemoryStore

    from hpc.store.own_files import OwnFiles

    try:
        refuse_other_formulas(store)
    except ValueError as error:
        return [str(error)]
    try:
        input_hash, columns = read_inputs(store.description, store.items)
    except ValueError as error:
        return [f"{error}; put back the library.json that the store was made from"]
    if input_hash != store.input_hash:
        return ["library.json or the run description was changed after the fact"]
    problems = []
    expected = create_arrays(MemoryStore(), store.description, columns.n_items)
    consolidated = zarr.open_group(OwnFiles(store.path, read_only=True), mode="r")
    if consolidated.metadata.consolidated_metadata is None:
        problems.append("zarr.json has lost the consolidated metadata")
    for name, array in expected.arrays():
        # Any kind of damage can surface here, from a missing file to a failing codec.
        try:
            copies = [store.array(name), cast("zarr.Array", consolidated[name])]
            if any(_facts(copy) != _facts(array) for copy in copies):
                problems.append(f"{name}: its metadata were changed after the fact")
            elif name in store.fields.written:
                continue
            elif not _same(copies[0], columns.arrays.get(name, array)):
                problems.append(f"{name} is not what the hosts and the description give")
        except Exception as error:
            if remedy_of(error):
                raise
            problems.append(f"{name} can't be read: {type(error).__name__}: {error}")
    return problems


def _facts(array: zarr.Array) -> tuple[Any, ...]:
    """What readers rely on, whatever the version of zarr that wrote it."""
    return (
        array.shape,
        array.dtype,
        str(array.fill_value),
        array.metadata.to_dict()["dimension_names"],
        dict(array.attrs),
    )


def _same(found: zarr.Array, expected: zarr.Array | np.ndarray) -> bool:
    """Whether two arrays hold the same, read chunk by chunk, since a large library has many."""
    return all(
        np.array_equal(
            np.asarray(found[start : start + found.chunks[0]]),
            np.asarray(expected[start : start + found.chunks[0]]),
            equal_nan=found.dtype.kind == "f",
        )
        for start in range(0, found.shape[0], found.chunks[0])
    )


def _check_shard(store: Store, shard: Shard, record: DoneRecord, problems: list[str]) -> str | None:
    """The digest of a shard as it is on disk; None where it can't be read."""
    hosts = f"hosts {shard.start} to {shard.stop - 1}"
    remedy = "`generate --repair` makes them anew"
    try:
        digest = shard_digest(store, shard)
    # As above: damage takes many forms.
    except Exception as error:
        if remedy_of(error):
            raise
        problems.append(f"{hosts} can't be read ({type(error).__name__}: {error}); {remedy}")
        return None
    if digest != record.digest:
        problems.append(f"{hosts} are not what was written; {remedy}")
    return digest


def atoms_of_row(path: Path, structure: int, variant: int) -> AtomicStructure:
    """The atoms behind one stored row: stored ones, or drawn again from the run description.

    Raises:
        ValueError: there is no such row.
    """
    store = Store(path)
    description = store.description
    n_variants = description.source.n_variants
    if not 0 <= structure < len(store.items):
        raise ValueError(f"structure {structure}: the store has 0 to {len(store.items) - 1}")
    if not 0 <= variant < n_variants:
        raise ValueError(f"variant {variant}: the store has 0 to {n_variants - 1}")
    if Atoms.name in description.observables:
        return stored_atoms(store, structure, variant)
    samples = description.source.draw(store.items[structure], description.seed)
    for stage in description.stages:
        samples = stage.apply(samples, Resources())
    return samples[variant].atoms()
