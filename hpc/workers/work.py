"""What a worker does: one task, from items to a written shard and its record."""

from __future__ import annotations

import os
import re
import resource
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from defectgen.samples import Item, Sample, UnusableItem
from hpc.description import RunDescription
from hpc.store.ledger import (
    DoneRecord,
    QuarantinedHost,
    read_record,
    withdraw_record,
    write_record,
)
from hpc.store.shards import ShardWriter, is_intact, shard_digest
from hpc.store.store import Store
from hpc.workers.resources import own_resources

if TYPE_CHECKING:
    from hpc.workers.supervisor import Order

Watch = Callable[[str | None], None]
"""Called with the id of an item before its turn and each group of its samples, and with None before
disk work; from call to call the time of a worker counts anew."""


def run_task(order: Order, watch: Watch) -> DoneRecord:
    """Compute and write one shard. Running it again writes the same bytes.

    Raises:
        OSError: the disk is full, say.
        Exception: whatever an item provoked, but for UnusableItem, which quarantines it at once.
    """
    started = time.time()
    watch(None)
    store, shard = _open_store(order.store, order.input_hash), order.task.shard
    if record := _finished(store, order):
        return record
    withdraw_record(store.ledger, shard.index)
    with ShardWriter(store, shard) as writer:
        quarantined = _compute(store, order, writer, watch)
        watch(None)
    record = DoneRecord(
        task=shard.index,
        input_hash=store.input_hash,
        digest=shard_digest(store, shard),
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
    return record if not record.quarantined and is_intact(store, order.task.shard, record) else None


def _compute(
    store: Store, order: Order, writer: ShardWriter, watch: Watch
) -> list[QuarantinedHost]:
    quarantined = []
    for row, item in enumerate(store.items[order.task.start : order.task.stop]):
        reason = order.given_up.get(item.id)
        if reason is None:
            watch(item.id)
            try:
                for first, values in item_rows(item, store.description, writer.n_samples, watch):
                    writer.put(row, first, values)
                writer.end_item()
            except UnusableItem as error:
                reason = str(error)
        if reason is not None:
            writer.blank(row)
            quarantined.append(QuarantinedHost(id=item.id, reason=reason))
    return quarantined


def item_rows(
    item: Item, description: RunDescription, n_together: int, watch: Watch
) -> Iterator[tuple[int, dict[str, Any]]]:
    """What is stored of an item's samples, some at a time.

    Yields:
        The number of the first of these samples, and by field their values as of
        `ShardWriter.put`.
    """
    on = own_resources()
    samples: Sequence[Sample] = description.source.draw(item, description.seed)
    for stage in description.stages:
        samples = stage.apply(samples, on)
    for first in range(0, len(samples), n_together):
        if first:
            watch(item.id)
        some = samples[first : first + n_together]
        values = {name: [s.values[name] for s in some] for name in some[0].values}
        for observable in description.observables.values():
            values |= _finite(observable.compute(some, on))
        yield first, values


def _finite(observed: Any) -> dict[str, Any]:
    """What an observable computed, if it is of numbers all through."""
    for name, values in observed.items():
        for array in values if isinstance(values, list) else [values]:
            if not np.isfinite(array).all():
                raise UnusableItem(f"{name} is not finite")
    return dict(observed)
