"""Dask workers: processes on this machine, or jobs that it submits to Slurm."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hpc.executors import Execute, Work
from hpc.ledger import DoneRecord
from hpc.plan import Task

if TYPE_CHECKING:
    from distributed import Client, SpecCluster

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
def start(workers: int, cluster: str = "local") -> Iterator[Execute]:
    """Starts `workers` workers of one thread each on a "local" or "slurm" cluster.

    Raises:
        ImportError: cluster="slurm" without dask-jobqueue.
    """
    import dask
    from distributed import Client, as_completed

    with dask.config.set(_SETTINGS):
        begin = {"local": _local_cluster, "slurm": _slurm_cluster}[cluster]
        with begin(workers) as running, Client(running) as client:
            _announce_dashboard(client)

            def execute(work: Work, tasks: Iterable[Task]) -> Iterator[DoneRecord]:
                tasks = list(tasks)
                keys = [f"shard-{task.index:06d}" for task in tasks]
                futures = client.map(partial(_outcome, work), tasks, key=keys)
                for future in as_completed(futures):
                    outcome = future.result()
                    if isinstance(outcome, Exception):
                        raise outcome
                    yield outcome

            yield execute


def _outcome(work: Work, task: Task) -> DoneRecord | Exception:
    """A failure is returned, not raised: Dask would print a traceback that says no more."""
    try:
        return work(task)
    except Exception as error:
        return error


def _announce_dashboard(client: Client) -> None:
    port = urlsplit(client.dashboard_link).port
    log.info(
        "Dask dashboard: http://127.0.0.1:%s/status (elsewhere: ssh -L %s:127.0.0.1:%s %s)",
        port,
        port,
        port,
        socket.gethostname(),
    )


def _local_cluster(workers: int) -> SpecCluster:
    """Scheduler, workers and dashboard listen on loopback only."""
    from distributed import LocalCluster

    # Workers inherit this: an interrupt is for the client, which then ends them.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
        )
    finally:
        signal.signal(signal.SIGINT, interrupt)


def _slurm_cluster(workers: int) -> SpecCluster:
    """Each worker is a job. Site settings come from dask-jobqueue's own configuration files.

    An open scheduler would run anyone's code, so that scheduler and workers speak TLS.
    """
    from dask.config import get

    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise ImportError(
            "--cluster slurm needs dask-jobqueue: pip install 'defectpdf[slurm]'"
        ) from None
    from distributed.security import Security

    cluster = SLURMCluster(
        cores=1,
        processes=1,
        memory=get("jobqueue.slurm.memory", None) or "2GiB",
        # Many sites forbid --mem.
        job_directives_skip=["--mem"],
        security=Security.temporary(),
        # Workers read the keys of this one cluster from here; they go when it is closed.
        shared_temp_directory=get("jobqueue.slurm.shared-temp-directory", None) or Path.home(),
        scheduler_options={"dashboard_address": "127.0.0.1:0"},
    )
    cluster.scale(jobs=workers)
    return cluster
