"""What a worker does: one task, from hosts to a written shard and its record."""

from __future__ import annotations

import resource
import socket
import time
from functools import lru_cache
from pathlib import Path

import numpy as np

from defectgen.elements import atomic_number
from defectgen.host import Host
from defectgen.variants import HostSupercell
from hpc.ledger import DoneRecord, QuarantinedHost, write_record
from hpc.plan import Task
from hpc.store import Store, shard_digest


def run_task(path: Path, input_hash: str, task: Task) -> DoneRecord:
    """Compute and write one shard. Running it again writes the same bytes."""
    started = time.time()
    store = _open_store(path, input_hash)
    rows = _blank_rows(store, task)
    quarantined = []
    for row, host in enumerate(store.hosts[task.start : task.stop]):
        try:
            values = host_rows(host, store)
        # Lack of memory, disk or a library says nothing about the host: the task is not done.
        except (MemoryError, OSError, ImportError):
            raise
        # A host that fails for any other reason must not take the others with it.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            quarantined.append(QuarantinedHost(id=host.id, reason=reason))
            continue
        for name, value in values.items():
            rows[name][row] = value
    store.write_shard(task, rows)
    record = DoneRecord(
        task=task.index,
        input_hash=store.input_hash,
        digest=shard_digest(rows),
        quarantined=tuple(quarantined),
        started=started,
        finished=time.time(),
        node=socket.gethostname(),
        peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    write_record(store.ledger, record)
    return record


@lru_cache(maxsize=1)
def _open_store(path: Path, input_hash: str) -> Store:
    """One open store a worker; the hash tells a new store at an old path from the old one."""
    return Store(path, mode="r+")


def _blank_rows(store: Store, task: Task) -> dict[str, np.ndarray]:
    rows = {}
    for name in store.variant_arrays:
        array = store.array(name)
        shape = (task.stop - task.start, *array.shape[1:])
        rows[name] = np.full(shape, array.fill_value, dtype=array.dtype)
    return rows


def host_rows(host: Host, store: Store) -> dict[str, np.ndarray]:
    """The row (V, ...) of each variant array for one host."""
    supercell = HostSupercell(host, store.description.defects)
    seed, n_variants = store.description.seed, store.description.defects.n_variants
    variants = [supercell.variant(seed, index) for index in range(n_variants)]
    changes = [variant.change for variant in variants]
    values = store.observable.compute(supercell.crystal, changes)
    if not np.isfinite(values).all():
        raise ValueError(f"{store.observable.name} is not finite")
    return {
        store.observable.name: values.astype(np.float32),
        "label": np.array([variant.label for variant in variants]),
        "concentration": np.array([variant.concentration for variant in variants]),
        "impurity": np.array(
            [atomic_number(v.impurity) if v.impurity else 0 for v in variants], dtype=np.uint8
        ),
        "n_atoms": np.array(
            [
                supercell.n_atoms - len(change.removed.site) + len(change.added.site)
                for change in changes
            ]
        ),
    }
