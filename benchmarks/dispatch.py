"""Seconds and CPU seconds of dealing out tasks that do nothing; executors.py starts it.

python -m benchmarks.dispatch ENGINE WORKERS TASKS, with ENGINE "dask", "mpi" (under mpiexec) or
"child", the order to the computing process alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from hpc.executors import start_executor
from hpc.plan import Task
from hpc.store.ledger import FailedTask, Outcome


def nothing(task: Task) -> Outcome:
    return FailedTask(task=task.index, reason="")


def through(engine: str, workers: int, tasks: list[Task]) -> tuple[float, float] | None:
    """For all tasks, after some that do not count; None on a rank that only works."""
    with start_executor(engine, 1 if engine == "mpi" else workers) as execute:
        if execute is None:
            return None
        warm_up = [task.model_copy(update={"index": 10**6 + task.index}) for task in tasks]
        list(execute(nothing, warm_up[:100]))
        started = time.perf_counter(), time.process_time()
        list(execute(nothing, tasks))
        return time.perf_counter() - started[0], time.process_time() - started[1]


def to_the_child(tasks: list[Task]) -> tuple[float, float]:
    """For orders of tasks that are done already."""
    from hpc.description import read_description
    from hpc.generate import generate
    from hpc.store.store import Store
    from hpc.workers.supervisor import SupervisedWork

    with tempfile.TemporaryDirectory() as folder, start_executor("serial", 1) as execute:
        assert execute is not None
        path = Path(folder) / "metals.zarr"
        generate(path, read_description(None, 1), execute)
        work = SupervisedWork(path, Store(path).input_hash, repair=False, timeout=60)
        started = time.perf_counter(), time.process_time()
        for task in tasks:
            work(task.model_copy(update={"index": 0}))
        return time.perf_counter() - started[0], time.process_time() - started[1]


def main(engine: str, workers: int, n_tasks: int) -> None:
    tasks = [Task(index=k, start=0, stop=32, first="", last="") for k in range(n_tasks)]
    taken = to_the_child(tasks) if engine == "child" else through(engine, workers, tasks)
    if taken is not None:
        print(json.dumps(taken))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
