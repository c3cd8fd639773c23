"""What a worker does: one task, from hosts to a written shard and its record."""

from __future__ import annotations

import os
import re
import resource
import socket
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from defectgen.hosts.elements import atomic_number
from defectgen.hosts.host import Host
from defectgen.point_defects.variants import HostSupercell
from hpc.plan import Task
from hpc.store.ledger import (
    DoneRecord,
    QuarantinedHost,
    read_record,
    withdraw_record,
    write_record,
)
from hpc.store.store import Store, shard_digest

if TYPE_CHECKING:
    from hpc.workers.supervisor import Order


def run_task(order: Order, watch: Callable[[str | None], None]) -> DoneRecord:
    """Compute and write one shard. Running it again writes the same bytes.

    Args:
        watch: called with the id of each host before its turn, and with None before disk work.

    Raises:
        OSError: the disk is full, say.
        Exception: whatever a host provoked, but for ValueError, which quarantines it at once.
    """
    started = time.time()
    watch(None)
    store, task = _open_store(order.store, order.input_hash), order.task
    if record := _finished(store, order):
        return record
    rows, quarantined = _compute(store, order, watch)
    watch(None)
    withdraw_record(store.ledger, task.index)
    store.write_shard(task, rows)
    record = DoneRecord(
        task=task.index,
        input_hash=store.input_hash,
        digest=shard_digest(rows),
        quarantined=tuple(quarantined),
        failures=order.failures,
        started=started,
        finished=time.time(),
        node=socket.gethostname(),
        pid=os.getpid(),
        peak_memory_mib=peak_memory_mib(),
    )
    write_record(store.ledger, record)
    return record


def peak_memory_mib() -> float:
    """Peak memory of this process so far."""
    # getrusage may hold what the parent had before the process was its own, but some kernels have
    # nothing else.
    match = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    kib = int(match[1]) if match else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib / 1024


@lru_cache(maxsize=1)
def _open_store(path: Path, input_hash: str) -> Store:
    """One open store a worker; the hash tells a new store at an old path from the old one."""
    return Store(path, mode="r+")


def _finished(store: Store, order: Order) -> DoneRecord | None:
    """The record of a task that another process has done meanwhile, or that needs no repair."""
    record = read_record(store.ledger, order.task.index, store.input_hash)
    if record is None or not order.repair:
        return record
    return record if not record.quarantined and store.is_intact(order.task, record) else None


def _compute(
    store: Store, order: Order, watch: Callable[[str | None], None]
) -> tuple[dict[str, np.ndarray], list[QuarantinedHost]]:
    rows = _blank_rows(store, order.task)
    quarantined = []
    for row, host in enumerate(order.task.hosts):
        reason = order.given_up.get(host.id)
        if reason is None:
            watch(host.id)
            try:
                values = host_rows(host, store)
            except ValueError as error:
                reason = str(error)
        if reason is None:
            for name, value in values.items():
                rows[name][row] = value
        else:
            quarantined.append(QuarantinedHost(id=host.id, reason=reason))
    return rows, quarantined


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
    rows = {
        store.observable.name: values.astype(np.float32),
        "label": np.array([variant.label for variant in variants]),
        "concentration": np.array([variant.concentration for variant in variants]),
        "impurity": np.array(
            [atomic_number(v.impurity) if v.impurity else 0 for v in variants], dtype=np.uint8
        ),
        "n_atoms": np.array(
            [supercell.n_atoms + change.n_own + len(change.added.site) for change in changes]
        ),
    }
    if store.description.defects.mixed_variants:
        rows["n_defects"] = np.array([variant.n_defects for variant in variants])
    return rows
