"""Dask workers: on this machine, on a cluster, or those of a scheduler that runs already."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from uuid import uuid4

import dask
import distributed
from distributed.client import CancelledError
from distributed.comm import CommClosedError

from hpc.executors import Execute, Work
from hpc.executors.scheduler import existing_workers
from hpc.executors.slurm import slurm_workers, srun_workers
from hpc.executors.workers import Workers, local_workers, quieten
from hpc.limits import require_room, threads_of_zarr
from hpc.plan import Task
from hpc.store.ledger import FailedTask, Outcome
from hpc.workers.resources import Place
from hpc.workers.supervisor import WorkerStopped, start_worker, stop_worker

log = logging.getLogger(__name__)

_SETTINGS = {
    # A worker that is lost takes its task with it to another; the task is not to blame.
    "distributed.scheduler.allowed-failures": 100,
    "distributed.deploy.lost-worker-timeout": "5s",
    # It would see workers wait for their computing processes, and costs several percent.
    "distributed.worker.profile.enabled": False,
}
# One that it works on, one that waits at the worker, and one on its way.
_IN_FLIGHT_PER_THREAD = 3
_SECONDS_BETWEEN_LOOKS = 2.0
# What a run takes at most, as measured, of the scheduler's process and of workers beside it; MiB.
_FILES, _FILES_PER_WORKER = 32, 12
_THREADS, _THREADS_PER_WORKER = 24, 8
_MEMORY = 768


@contextmanager
def start(
    workers: int,
    cluster: str | None = None,
    scheduler: str | None = None,
    performance_report: Path | None = None,
    shared: Path | None = None,
) -> Iterator[Execute]:
    """Yields the executor on the workers of a cluster or of a scheduler.

    Args:
        workers: how many of one thread each; for the clusters "local" and "slurm".
        cluster: "local" (the default), "slurm" (each worker is a job) or "srun" (each worker is
            a task of the Slurm job that this is in).
        scheduler: address or scheduler file of a scheduler that runs already.
        performance_report: HTML file for Dask's report of the run.
        shared: folder that all nodes of a cluster see, for its certificates.

    Raises:
        ImportError: a package that the cluster needs is not installed.
        OSError: the scheduler is not reached or is lost, no worker can come any more, or a limit
            of the system is too low.
        ValueError: the options do not go together, or are not safe.
    """
    if performance_report and not performance_report.absolute().parent.is_dir():
        folder = performance_report.parent
        raise ValueError(f"--performance-report {performance_report}: there is no folder {folder}")
    here = workers if scheduler is None and cluster in (None, "local") else 0
    require_room(
        f"a run with {workers} Dask workers",
        files=_FILES + _FILES_PER_WORKER * workers,
        threads=_THREADS + (_THREADS_PER_WORKER + threads_of_zarr()) * here,
        memory=_MEMORY,
    )
    # What these would say is said here, in one line, or is of no use.
    for name in ("distributed.client", "distributed.sizeof", "asyncio", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with (
        dask.config.set(_SETTINGS),
        _find_workers(workers, cluster, scheduler, shared) as found,
        _report(performance_report),
    ):
        found.client.register_plugin(_ComputingChild(found.on_this_machine))
        yield partial(_run, found)
        if scheduler is None:
            quieten(found.client)


def _find_workers(
    workers: int, cluster: str | None, scheduler: str | None, shared: Path | None
) -> AbstractContextManager[Workers]:
    if scheduler is None:
        if cluster in (None, "local"):
            return local_workers(workers)
        on_slurm = {"slurm": slurm_workers, "srun": srun_workers}[cluster]
        return on_slurm(workers, shared or Path.cwd())
    if cluster is not None:
        raise ValueError(f"--cluster {cluster} starts its own scheduler: leave --scheduler out")
    if workers != 1:
        raise ValueError(f"--workers {workers} has no meaning with --scheduler, which has its own")
    return existing_workers(scheduler)


@contextmanager
def _report(file: Path | None) -> Iterator[None]:
    """Write Dask's report of what was done within, unless it fails."""
    if file is None:
        yield
        return
    report = distributed.performance_report(str(file.absolute()))
    report.__enter__()
    yield
    report.__exit__(None, None, None)


class _ComputingChild(distributed.WorkerPlugin):
    """Starts the process that computes with its worker, also where the worker comes late."""

    name = "defectpdf"
    idempotent = True

    def __init__(self, on_this_machine: int | None) -> None:
        self._on_this_machine = on_this_machine

    def setup(self, worker: distributed.Worker) -> None:
        start_worker(self._place(worker))

    def _place(self, worker: distributed.Worker) -> Place:
        if self._on_this_machine:  # where workers are numbered, and replaced by others
            return Place(int(worker.name) % self._on_this_machine, self._on_this_machine)
        # As a step of srun. Of others nothing is known: each has what its job or its user gave it.
        of_nodes = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1").partition("(")[0]
        count = int(of_nodes.partition(",")[0])
        return Place(int(os.environ.get("SLURM_LOCALID", "0")) % count, count)

    def teardown(self, worker: distributed.Worker) -> None:
        stop_worker()


def _run(workers: Workers, work: Work, tasks: Iterable[Task]) -> Iterator[Outcome]:
    tasks = iter(tasks)
    flight = _Flight(workers.client, work)
    watch = _Watch(workers)
    try:
        while True:
            room = _IN_FLIGHT_PER_THREAD * max(1, watch.n_threads()) - flight.n_tasks
            flight.submit(list(islice(tasks, max(0, room))))
            if not flight.n_tasks:
                return
            yield from flight.land(_SECONDS_BETWEEN_LOOKS)
    except (CancelledError, CommClosedError):
        raise ConnectionError(
            f"the Dask scheduler {workers.address} is gone; what was done is kept"
        ) from None


def _do(work: Work, task: Task) -> Outcome:
    """On a worker: what is asked for, or a word that another one should do it."""
    try:
        return work(task)
    except WorkerStopped:
        raise distributed.Reschedule from None


class _Flight:
    """Tasks that were submitted and whose outcomes have not been taken."""

    def __init__(self, client: distributed.Client, work: Work) -> None:
        self.n_tasks = 0
        self._client, self._work = client, partial(_do, work)
        # Runs that share a scheduler must not take each other's tasks for theirs.
        self._run = uuid4().hex[:8]
        self._landed: SimpleQueue[Outcome | Exception] = SimpleQueue()

    def submit(self, tasks: list[Task]) -> None:
        """Submit some tasks more."""
        if not tasks:
            return
        keys = [task_name(task, self._run) for task in tasks]
        futures = self._client.map(self._work, tasks, key=keys, pure=False)
        for future, task in zip(futures, tasks, strict=True):
            self._client.loop.add_callback(self._collect, future, task.index)
        self.n_tasks += len(tasks)

    async def _collect(self, future: distributed.Future, index: int) -> None:
        # The client joins all that is collected at a time into one request.
        try:
            self._landed.put(await self._client.gather(future, asynchronous=True))
        except distributed.KilledWorker:
            reason = "the Dask workers that took it were lost, again and again"
            self._landed.put(FailedTask(task=index, reason=reason))
        except Exception as error:
            self._landed.put(error)

    def land(self, timeout: float) -> list[Outcome]:
        """The outcomes that are there; waits up to `timeout` (s) for the first one."""
        outcomes: list[Outcome] = []
        try:
            landed = self._landed.get(timeout=timeout)
            while True:
                self.n_tasks -= 1
                if isinstance(landed, Exception):
                    raise landed
                outcomes.append(landed)
                landed = self._landed.get_nowait()
        except Empty:
            return outcomes


def task_name(task: Task, run: str) -> str:
    """How a task is called on the dashboard; `run` makes it unique on the scheduler."""
    return f"pdfs-{task.index:06d}-{task.first}-to-{task.last}-{run}"


class _Watch:
    """Knows how many workers there are now, and says in the log when they come and go."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._next_look = 0.0
        self._n_workers: int | None = None
        self._n_threads = 0

    def n_threads(self) -> int:
        """Threads of all workers, as seen a moment ago.

        Raises:
            OSError: there are no workers and none can come.
        """
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _SECONDS_BETWEEN_LOOKS
            threads = self._workers.client.nthreads()
            self._n_threads = sum(threads.values())
            self._tell(len(threads))
            self._workers.check(len(threads))
        return self._n_threads

    def _tell(self, n_workers: int) -> None:
        if n_workers == self._n_workers:
            return
        if n_workers == 0:
            log.warning("no Dask worker is there: waiting for one (%s)", self._workers.hint)
        else:
            log.info("Dask workers: %d", n_workers)
        self._n_workers = n_workers
