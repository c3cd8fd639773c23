"""MPI ranks: rank 0 hands out tasks, the others work.

mpiexec -n 3 defectpdf generate --engine mpi --store metals.zarr
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, cast

from hpc.executors import Execute, Work, serial
from hpc.limits import require_room, threads_of_zarr
from hpc.plan import Task
from hpc.store.ledger import Outcome
from hpc.workers.resources import Place
from hpc.workers.supervisor import start_worker, stop_worker

if TYPE_CHECKING:
    from concurrent.futures import Future

    from mpi4py.futures import MPIPoolExecutor


log = logging.getLogger(__name__)

# One that a rank works on, and one that is there when it is done.
_IN_FLIGHT_PER_RANK = 2
_SECONDS_TO_PASS_ON = 0.2


@contextmanager
def start(workers: int) -> Iterator[Execute | None]:
    """Yields the executor on rank 0 and None on the others, which work until it is left.

    The number of workers is mpiexec's; a single rank works by itself. A signal that ends rank 0,
    or anything that ends another rank, ends all of them.

    Raises:
        ImportError: mpi4py or an MPI library is not installed.
        OSError: a limit of the system is too low for a rank.
        ValueError: srun and MPI do not know of each other.
    """
    try:
        from mpi4py import MPI
        from mpi4py.futures import MPICommExecutor
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"engine mpi needs mpi4py and an MPI library ({error}): pip install 'defectpdf[mpi]'"
        ) from None
    if workers != 1:
        raise ValueError(f"--workers {workers} has no meaning with MPI: mpiexec -n sets the number")
    if not _all_have_room():
        yield None
        return
    if MPI.COMM_WORLD.Get_size() == 1:
        if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
            raise ValueError(
                "srun started several tasks of which MPI knows nothing: name the interface that "
                "your MPI library speaks, srun --mpi=pmi2 (MPICH) or --mpi=pmix (Open MPI)"
            )
        with serial.start(1) as execute:
            yield execute
        return
    # Leaving the pool waits for tasks, so that a signal must be met within it and around it.
    with _together(), _computing_child(), MPICommExecutor(MPI.COMM_WORLD, root=0) as root:
        if root is None:
            yield None
            return
        # What the types of mpi4py don't say.
        pool = cast("MPIPoolExecutor", root)
        with _together():
            try:
                yield lambda work, tasks: _run(pool, work, tasks)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _all_have_room() -> bool:
    """Whether no rank meets a limit of the system; where one does, rank 0 raises OSError."""
    from mpi4py import MPI

    found: OSError | None = None
    try:
        require_room("an MPI rank", files=32, threads=2 * threads_of_zarr(), memory=256)
    except OSError as error:
        found = error
    failures = [error for error in MPI.COMM_WORLD.allgather(found) if error]
    if failures and MPI.COMM_WORLD.Get_rank() == 0:
        raise failures[0]
    return not failures


@contextmanager
def _together() -> Iterator[None]:
    """What ends one rank out of turn ends all: the others would wait for it forever."""
    from mpi4py import MPI

    on_root = MPI.COMM_WORLD.Get_rank() == 0
    try:
        yield
    except BaseException as error:
        # The pool of rank 0 dismisses the others in good order after an error.
        if on_root and isinstance(error, Exception):
            raise
        code = _exit_code(error)
        log.error("rank %d: %r ends all ranks", MPI.COMM_WORLD.Get_rank(), error)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # Launchers may drop what they have not passed on yet when they are told to abort.
        time.sleep(_SECONDS_TO_PASS_ON)
        MPI.COMM_WORLD.Abort(code)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return 130 if isinstance(error, KeyboardInterrupt) else 1


@contextmanager
def _computing_child() -> Iterator[None]:
    from mpi4py import MPI

    node = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED)
    # Rank 0, which is the first one of its node, hands out tasks.
    of_ranks = node.allgather(MPI.COMM_WORLD.Get_rank())
    n_idle = int(0 in of_ranks)
    if MPI.COMM_WORLD.Get_rank() == 0:
        yield
        return
    start_worker(Place(node.Get_rank() - n_idle, len(of_ranks) - n_idle))
    try:
        yield
    finally:
        stop_worker()


def _run(pool: MPIPoolExecutor, work: Work, tasks: Iterable[Task]) -> Iterator[Outcome]:
    tasks = iter(tasks)
    finished: SimpleQueue[Future[Outcome]] = SimpleQueue()

    def submit(count: int) -> int:
        """Submit up to `count` tasks more, and say how many there were."""
        some = list(islice(tasks, count))
        for task in some:
            pool.submit(work, task).add_done_callback(finished.put)
        return len(some)

    n_ranks = pool.num_workers
    in_flight = submit(_IN_FLIGHT_PER_RANK * n_ranks)
    while in_flight:
        outcome = finished.get().result()
        in_flight += submit(1) - 1
        yield outcome
