"""The main job: a run description in, a complete store out."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hpc.description import RunDescription
from hpc.executors import Execute
from hpc.ledger import QuarantinedHost, exclusive, read_records, sweep_partial_files
from hpc.plan import select_hosts
from hpc.progress import track
from hpc.store import open_or_create
from hpc.work import run_task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """What a call of `generate` did."""

    n_structures: int
    n_computed: int
    n_variants: int
    seconds: float
    quarantined: tuple[QuarantinedHost, ...]


def generate(path: Path, description: RunDescription, execute: Execute) -> Summary:
    """Bring the store at `path` to completion, doing only what is missing.

    Args:
        execute: what `hpc.executors.start_executor` yields.

    Raises:
        ValueError: unusable input, a store of another run, or one that is being written.
    """
    path = path.absolute()
    with exclusive(path):
        return _complete(path, description, execute)


def _complete(path: Path, description: RunDescription, execute: Execute) -> Summary:
    started = time.perf_counter()
    sweep_partial_files(path)
    store = open_or_create(path, description, select_hosts(description.library))
    done = read_records(store.ledger, store.input_hash)
    missing = [task for task in store.tasks if task.index not in done]
    n_hosts = sum(task.stop - task.start for task in missing)
    if done:
        log.info("%d of %d shards are done already", len(done), len(store.tasks))
    work = partial(run_task, path, store.input_hash)
    quarantined = [host for record in done.values() for host in record.quarantined]
    with track(n_hosts, description.defects.n_variants) as advance:
        for record in execute(work, missing):
            quarantined += record.quarantined
            task = store.tasks[record.task]
            advance(task.stop - task.start)
    return Summary(
        n_structures=len(store.hosts),
        n_computed=n_hosts,
        n_variants=description.defects.n_variants,
        seconds=time.perf_counter() - started,
        quarantined=tuple(quarantined),
    )
