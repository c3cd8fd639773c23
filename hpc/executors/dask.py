"""Dask worker processes on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hpc.executors import Execute, Work
from hpc.ledger import DoneRecord
from hpc.plan import Task

log = logging.getLogger(__name__)

_SETTINGS = {
    # A worker that is lost takes its task with it to another; the task is not to blame.
    "distributed.scheduler.allowed-failures": 10,
    # Dask has workers give memory back at once; taking it again for every array costs more
    # time than the computation, and the little that a worker holds does not matter.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 1 << 28,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 1 << 28,
}


@contextmanager
def start(workers: int) -> Iterator[Execute]:
    """Starts `workers` processes of one thread; scheduler and dashboard are on loopback only."""
    import dask
    from distributed import Client, LocalCluster, as_completed

    with (
        dask.config.set(_SETTINGS),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        log.info("Dask dashboard: %s", client.dashboard_link)

        def execute(work: Work, tasks: Sequence[Task]) -> Iterator[DoneRecord]:
            keys = [f"shard-{task.index:06d}" for task in tasks]
            for future in as_completed(client.map(work, tasks, key=keys)):
                yield future.result()

        yield execute
