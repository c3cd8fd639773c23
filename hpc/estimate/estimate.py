"""What a run would take, before it is started: files, disk, time and memory.

Counts are exact. The rest is measured, by computing a few of the hosts (hpc/estimate/measure.py).
"""

from __future__ import annotations

import math
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from defectgen.samples import Item
from hpc.description import RunDescription
from hpc.estimate.measure import Measured, Trial
from hpc.plan import Shard, plan_shards
from hpc.store.creation import is_to_be_made
from hpc.store.inputs import refuse_another_run, refuse_other_formulas
from hpc.store.layout import create_arrays
from hpc.store.ledger import read_records
from hpc.store.locks import Part, refuse_strangers
from hpc.store.store import Store
from hpc.workers.resources import ONE_THREAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import zarr

_LARGEST_SHARD = 256
"""Most hosts of the trial's shard, however many those of the run have."""
_PATIENCE = 300.0
_FAILURES_SHOWN = 5
_LEDGER_FILES, _RECORD_BYTES = 6, 450
"""Two locks, the log of one run, the joined records, what the store was made from and an index of
its items; and what the record of a shard takes."""


@dataclass(frozen=True)
class Estimate:
    """What a run would take. Files and bytes are those of the complete store.

    `values_bytes` is what it holds before compression. `n_done` counts hosts of the whole store,
    missing is what the part asked for lacks. `failures` are the hosts of the trial that can't be
    computed, by id, with the reason.
    """

    store: str
    exists: bool
    n_structures: int
    n_variants: int
    of_samples: str
    n_shards: int
    n_shards_missing: int
    n_done: int
    n_missing: int
    n_pdfs_missing: int
    n_files: int
    n_folders: int
    values_bytes: int
    disk_bytes: int
    disk_bytes_missing: int
    disk_bytes_free: int
    workers: int
    seconds_per_host: float
    seconds: float
    memory_mib_per_worker: float
    n_sample: int
    failures: dict[str, str]


def estimate(
    path: Path, description: RunDescription | None, workers: int, part: Part | None = None
) -> Estimate:
    """What `hpc.generate.generate` would do with as many workers, while nothing is written.

    Raises:
        ValueError: what `generate` raises before it computes, or the trial can't be computed.
    """
    refuse_strangers(path)
    store = None if is_to_be_made(path) else Store(path)
    items: Sequence[Item]
    if store is not None:
        refuse_other_formulas(store)
        if description is not None:
            refuse_another_run(store, description)
        description, items = store.description, store.items
    else:
        description = description or RunDescription()
        items = description.source.items()
    shards = plan_shards(len(items), description.hosts_per_shard)
    done = set(read_records(store.ledger, store.input_hash)) if store else set()
    missing = [s for s in shards if s.index not in done and (part is None or part.takes(s.index))]
    measured = _measure(description, items)
    # A shard of the trial may be smaller than one of the run.
    larger = shards[0].n_items / measured.n_shard - 1
    arrays = _arrays(description, len(items))
    n_files, n_folders = _files(arrays, len(shards), measured)
    rows_bytes = measured.row_bytes + _RECORD_BYTES / shards[0].n_items
    n_missing = sum(shard.n_items for shard in missing)
    n_variants = description.source.n_variants
    made_bytes = measured.fixed_bytes + len(items) * measured.host_bytes
    return Estimate(
        store=str(path),
        exists=store is not None,
        n_structures=len(items),
        n_variants=n_variants,
        of_samples=description.of_samples,
        n_shards=len(shards),
        n_shards_missing=len(missing),
        n_done=sum(shard.n_items for shard in shards if shard.index in done),
        n_missing=n_missing,
        n_pdfs_missing=n_missing * n_variants,
        n_files=n_files,
        n_folders=n_folders,
        values_bytes=sum(array.nbytes for array in arrays.values() if array.ndim > 1),
        disk_bytes=round(made_bytes + len(items) * rows_bytes),
        disk_bytes_missing=round(n_missing * rows_bytes + (0 if store else made_bytes)),
        disk_bytes_free=_free(path),
        workers=workers,
        seconds_per_host=measured.seconds_per_host,
        seconds=wall_time(missing, workers, measured),
        memory_mib_per_worker=measured.memory_mib + larger * measured.shard_memory_mib,
        n_sample=measured.n_hosts,
        failures=measured.failures,
    )


def _measure(description: RunDescription, items: Sequence[Item]) -> Measured:
    largest = max(items, key=description.source.size)
    shard = min(description.hosts_per_shard, len(items), _LARGEST_SHARD)
    tried = [items[k * len(items) // shard] for k in range(shard)]
    # If the time is only enough for the first, they stand for all.
    random.Random(0).shuffle(tried)
    trial = Trial(
        description=description,
        largest=largest.model_dump(mode="json"),
        items=tuple(item.model_dump(mode="json") for item in tried),
        started=time.time(),
    )
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "hpc.estimate.measure"],
            input=trial.model_dump_json().encode(),
            capture_output=True,
            timeout=_PATIENCE,
            env=os.environ | ONE_THREAD,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"a host like {largest.id} takes more than {_PATIENCE:.0f} s: take a smaller supercell"
        ) from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        reason = (said or f"exit code {done.returncode}").splitlines()[-1]
        raise ValueError(f"the trial could not be computed: {reason}")
    return Measured.model_validate_json(done.stdout.splitlines()[-1])


def _arrays(description: RunDescription, n_hosts: int) -> dict[str, zarr.Array]:
    """All arrays of the store, as they are before the first host is written."""
    from zarr.storage import MemoryStore

    group = create_arrays(MemoryStore(), description, n_hosts)
    return dict(cast("Iterable[tuple[str, zarr.Array]]", group.arrays()))


def _files(arrays: dict[str, zarr.Array], n_shards: int, measured: Measured) -> tuple[int, int]:
    """Files and folders of a complete store: chunk (2, 0) of an array is the file c/2/0."""
    of_ragged_files, of_ragged_folders = (n_shards * count for count in measured.ragged)
    n_files = 2 + len(arrays) + _LEDGER_FILES + of_ragged_files  # zarr.json, library.json
    n_folders = 2 + len(arrays) + of_ragged_folders  # the store and its ledger
    if of_ragged_files:  # the group of all
        n_files, n_folders = n_files + 1, n_folders + 1
    for name, array in arrays.items():
        if name in measured.empty_arrays:
            continue
        unit = array.shards or array.chunks
        grid = [math.ceil(size / step) for size, step in zip(array.shape, unit, strict=True)]
        n_files += math.prod(grid)
        n_folders += sum(math.prod(grid[:depth]) for depth in range(len(grid)))
    return n_files, n_folders


def _free(path: Path) -> int:
    """Bytes free where the store will be, a quota not considered."""
    folders = (path.absolute(), *path.absolute().parents)
    return shutil.disk_usage(next(folder for folder in folders if folder.exists())).free


def wall_time(missing: list[Shard], workers: int, measured: Measured) -> float:
    """Seconds until the worker that has the most to do is done."""
    if not missing:
        return 0.0
    most = math.ceil(len(missing) / workers)
    n_hosts = min(most * missing[0].n_items, sum(shard.n_items for shard in missing))
    return measured.startup_seconds + n_hosts * measured.seconds_per_host


def as_text(found: Estimate) -> str:
    """An estimate for people, on one screen."""
    state = f"exists, {found.n_done:,} hosts are done" if found.exists else "would be made"
    lines = {
        "hosts": f"{found.n_missing:,} of {found.n_structures:,} to compute, in "
        f"{found.n_shards_missing:,} of {found.n_shards:,} shards",
        found.of_samples: f"{found.n_pdfs_missing:,} to compute, {found.n_variants} a host",
        "files": f"{found.n_files:,} in {found.n_folders:,} folders, when complete",
        "disk": f"{_size(found.disk_bytes)}, when complete ({_size(found.values_bytes)} before "
        f"compression); {_size(found.disk_bytes_missing)} to write, "
        f"{_size(found.disk_bytes_free)} free",
        "time": f"{_duration(found.seconds)} with --workers {found.workers} like this machine's, "
        f"{1e3 * found.seconds_per_host:.3g} ms a host",
        "memory": f"{found.memory_mib_per_worker:.0f} MiB in the computing process of a worker",
        "sample": f"{found.n_sample} hosts, {len(found.failures)} can't be computed",
    }
    table = [f"  {name:<8}{text}" for name, text in lines.items()]
    failures = [f"  {host}: {why}" for host, why in found.failures.items()][:_FAILURES_SHOWN]
    return "\n".join([f"{found.store}: {state}; nothing is written", *table, *failures])


def _size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
