"""The main job: a run description in, a complete store out."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hpc.description import RunDescription
from hpc.executors import Execute
from hpc.ledger import (
    DoneRecord,
    QuarantinedHost,
    exclusive,
    read_records,
    sweep_partial_files,
)
from hpc.plan import select_hosts
from hpc.progress import track
from hpc.store import Store, open_or_create
from hpc.work import run_task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """What a call of `generate` did."""

    n_structures: int
    n_variants: int
    n_computed: int
    seconds: float
    quarantined: tuple[QuarantinedHost, ...]

    @property
    def n_pdfs(self) -> int:
        """PDFs computed by this call."""
        return self.n_computed * self.n_variants


def generate(path: Path, description: RunDescription, execute: Execute) -> Summary:
    """Bring the store at `path` to completion, doing only what is missing.

    Args:
        execute: what `hpc.executors.start_executor` yields.

    Raises:
        ValueError: unusable input, a store of another run, or one that is being written.
        OSError: the store can't be written, as on a full disk; what is done stays done.
    """
    path = path.absolute()
    hosts = select_hosts(description.library)
    with exclusive(path):
        try:
            return _complete(open_or_create(path, description, hosts), execute)
        except OSError as error:
            reason = f"{error.strerror or error}; run generate again once there is a remedy"
            raise OSError(error.errno, reason, str(path)) from error


def _complete(store: Store, execute: Execute) -> Summary:
    started = time.perf_counter()
    sweep_partial_files(store.path)
    done = read_records(store.ledger, store.input_hash)
    missing = [task for task in store.tasks if task.index not in done]
    n_missing = sum(task.stop - task.start for task in missing)
    if done:
        log.info("%d of %d shards are done already", len(done), len(store.tasks))
    n_variants = store.description.defects.n_variants
    new: list[DoneRecord] = []
    with track(n_missing, n_variants) as advance:
        for record in execute(partial(run_task, store.path, store.input_hash), missing):
            new.append(record)
            task = store.tasks[record.task]
            advance(task.stop - task.start)
    failed = [host for record in (*done.values(), *new) for host in record.quarantined]
    return Summary(
        n_structures=len(store.hosts),
        n_variants=n_variants,
        n_computed=n_missing - sum(len(record.quarantined) for record in new),
        seconds=time.perf_counter() - started,
        quarantined=tuple(failed),
    )
