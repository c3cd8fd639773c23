"""A serial run in one process, with timers around its stages; whole_library.py starts it.

python -m benchmarks.stages STORE STARTED LIMIT prints the seconds of each stage as JSON. STARTED is
what time.monotonic() gave when the process was started; an empty LIMIT takes all hosts. The
computing, which has a process of its own in a run from the shell, is done in the same one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpc.executors import Work
    from hpc.plan import Task
    from hpc.store.ledger import DoneRecord


class Timers:
    """Seconds by stage, in the order they began; one within another counts for itself alone.

    Args:
        stage: that has been running since `started`, a time of time.monotonic().
    """

    def __init__(self, stage: str, started: float) -> None:
        self.seconds: dict[str, float] = {}
        self._stages, self._since = [stage], started

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.switch()
        self._stages.append(name)
        yield
        self.switch()
        self._stages.pop()

    def switch(self, name: str | None = None) -> None:
        """Give the time since the last switch to the running stage, and go on as another one."""
        now, running = time.monotonic(), self._stages[-1]
        self.seconds[running] = self.seconds.get(running, 0.0) + now - self._since
        self._since = now
        self._stages[-1] = name or running

    def around(self, owner: Any, function: str, stage: str) -> None:
        """Time all calls of a function or method."""
        timed: Callable[..., Any] = self.stage(stage)(getattr(owner, function))
        setattr(owner, function, timed)


def in_this_process(work: Work, tasks: Iterable[Task]) -> Iterator[DoneRecord]:
    """Does the tasks without a computing process of their own."""
    from hpc.workers.supervisor import SupervisedWork
    from hpc.workers.work import run_task

    assert isinstance(work, SupervisedWork)
    for task in tasks:
        yield run_task(work.order(task), watch=lambda host: None)


def main(path: Path, started: float, limit: int | None) -> None:
    timers = Timers("start-up and imports", started)
    # What the command imports at its start, and what the run imports at its first use.
    for module in ("train.cli", "periodictable", "rich.console", "zarr"):
        import_module(module)
    import hpc.generate
    import hpc.workers.work
    from defectgen.point_defects.variants import HostSupercell
    from defectgen.samples import Resources
    from defectgen.sources.defects import Defects
    from hpc.description import read_description
    from hpc.observables.pdf import PairDistributionFunction
    from hpc.store.inspect import verify
    from hpc.store.shards import ShardWriter
    from pdfcalc.crystals.displacements import Sites

    description = read_description(None, limit)
    timers.switch("library")
    host = description.source.items()[0]
    timers.switch("first PDFs: loading compiled code")
    description.pdf.compute(description.source.draw(host, 0), Resources())
    timers.switch("rest")
    for owner, function, stage in (
        (Defects, "items", "library"),
        (hpc.generate, "create", "making the store"),
        (HostSupercell, "__init__", "interstitial sites"),
        # The property that makes the classes when they are first asked for.
        (vars(Sites)["_classes"], "func", "classes of displacements"),
        (HostSupercell, "variant", "drawing"),
        (PairDistributionFunction, "compute", "PDFs"),
        (ShardWriter, "__exit__", "writing"),
        (hpc.workers.work, "shard_digest", "writing"),
        (hpc.workers.work, "write_record", "writing"),
    ):
        timers.around(owner, function, stage)
    hpc.generate.generate(path, description, in_this_process)
    timers.switch("verifying")
    verify(path)
    timers.switch()
    print(json.dumps(timers.seconds))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]) if sys.argv[3] else None)
