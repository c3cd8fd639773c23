"""One task after the other in this process: the oracle of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from hpc.executors import Execute, Outcome, Work
from hpc.plan import Task


@contextmanager
def start(workers: int) -> Iterator[Execute]:
    """Yields the executor; `workers` must be 1."""
    if workers != 1:
        raise ValueError(f"engine serial has one worker, not {workers}: use --engine dask")
    yield _execute


def _execute(work: Work, tasks: Iterable[Task]) -> Iterator[Outcome]:
    yield from map(work, tasks)
