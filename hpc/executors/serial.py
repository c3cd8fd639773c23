"""One task after the other by one worker: the oracle of the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hpc.executors import Execute
from hpc.limits import require_room, threads_of_zarr
from hpc.workers.resources import Place
from hpc.workers.supervisor import start_worker, stop_worker


@contextmanager
def start(workers: int) -> Iterator[Execute]:
    """Yields the executor; `workers` must be 1.

    Raises:
        OSError: a limit of the system is too low.
    """
    if workers != 1:
        raise ValueError(f"engine serial has one worker, not {workers}: use --engine dask")
    require_room("a run", files=16, threads=2 * threads_of_zarr(), memory=256)
    start_worker(Place(0, 1))
    try:
        yield map
    finally:
        stop_worker()
