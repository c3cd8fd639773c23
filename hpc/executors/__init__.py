"""Ways to run the tasks of a plan.

Each module has one context manager, `start(workers)`, which yields a function from work and
tasks to their outcomes, in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path

from hpc.plan import Task
from hpc.store.ledger import Outcome

Work = Callable[[Task], Outcome]
Execute = Callable[[Work, Iterable[Task]], Iterator[Outcome]]
"""Takes the tasks as it goes, a few at a time: all of a large library would fill the memory."""

ENGINES = ("serial", "dask", "mpi")


def start_executor(
    engine: str, workers: int, **options: str | Path | None
) -> AbstractContextManager[Execute | None]:
    """The executor of an engine; it yields None in a process that only serves as a worker.

    Args:
        options: those of `hpc.executors.dask.start`, for that engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not one of {', '.join(ENGINES)}")
    start: Callable[..., AbstractContextManager[Execute | None]]
    start = import_module(f"hpc.executors.{engine}").start
    return start(workers, **options)
