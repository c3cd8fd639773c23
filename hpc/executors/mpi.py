"""MPI ranks: rank 0 hands out tasks, the others work.

mpiexec -n 3 defectpdf generate --engine mpi --store metals.zarr
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from hpc.executors import Execute, Work, serial
from hpc.ledger import DoneRecord
from hpc.plan import Task


@contextmanager
def start(workers: int) -> Iterator[Execute | None]:
    """Yields the executor on rank 0 and None on the others, which work until it is left.

    The number of workers is mpiexec's; a single rank works by itself.

    Raises:
        ImportError: mpi4py or an MPI library is not installed.
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
    if MPI.COMM_WORLD.Get_size() == 1:
        if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
            raise ValueError(
                "srun started several tasks of which MPI knows nothing: name the interface that "
                "your MPI library speaks, srun --mpi=pmi2 (MPICH) or --mpi=pmix (Open MPI)"
            )
        with serial.start(1) as execute:
            yield execute
        return
    with MPICommExecutor(MPI.COMM_WORLD, root=0) as pool:
        if pool is None:
            yield None
            return

        def execute(work: Work, tasks: Iterable[Task]) -> Iterator[DoneRecord]:
            yield from pool.map(work, tasks, unordered=True)  # type: ignore[attr-defined]

        yield execute
