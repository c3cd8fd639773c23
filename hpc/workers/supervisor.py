"""Computing under supervision: a hang, a crash or an exception costs one host, not the run.

Each worker, whatever the engine, leaves the computing to a child process (hpc/workers/child.py) and
hands it one task after the other. A child that dies is replaced.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ConfigDict

from hpc.plan import Task
from hpc.store.ledger import DoneRecord, FailedTask, Failure, Outcome
from hpc.workers.resources import Place

ATTEMPTS = 3
_BACK_OFF = 0.5


class Order(BaseModel):
    """What the child is told to do, in one line of JSON."""

    model_config = ConfigDict(frozen=True)

    store: Path
    input_hash: str
    task: Task
    repair: bool
    timeout: float
    failures: tuple[Failure, ...] = ()
    given_up: dict[str, str] = {}


class Reply(BaseModel):
    """What the child says, in one line of JSON: which host is next, or how the task ended."""

    model_config = ConfigDict(frozen=True)

    host: str | None = None
    record: DoneRecord | None = None
    error: str | None = None
    blames_host: bool = False


@dataclass(frozen=True)
class SupervisedWork:
    """The work function of a run: tasks in, outcomes out, whatever happens to the computing.

    An item that makes the child die, hang for `timeout` seconds or raise anything but UnusableItem
    is tried again with a growing delay, then quarantined alone. What is no item's fault, as a full
    disk, is tried again as well, and then fails the task.
    """

    store: Path
    input_hash: str
    repair: bool
    timeout: float

    def __call__(self, task: Task) -> Outcome:
        order = self.order(task)
        while not isinstance(outcome := _child.run(order), DoneRecord):
            failures, given_up = (*order.failures, outcome), order.given_up
            attempts = sum(failure.host == outcome.host for failure in failures)
            if attempts < ATTEMPTS:
                time.sleep(_BACK_OFF * 2 ** (attempts - 1))
            elif outcome.host is None:
                return FailedTask(task=task.index, reason=outcome.reason)
            else:
                given_up = given_up | {outcome.host: f"{outcome.reason} ({ATTEMPTS} times)"}
            order = order.model_copy(update={"failures": failures, "given_up": given_up})
        return outcome

    def order(self, task: Task) -> Order:
        """What the child is told first about a task."""
        return Order(
            store=self.store,
            input_hash=self.input_hash,
            task=task,
            repair=self.repair,
            timeout=self.timeout,
        )


class WorkerStopped(Exception):
    """The worker was stopped while it computed: another one has to do the task."""


class _Child:
    """The computing process of this worker."""

    def __init__(self) -> None:
        self.place = Place(0, 1)
        self._process: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = Lock()

    def start(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            # -P: a file in the working folder must not stand in for a module.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "hpc.workers.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | self.place.environment(),
            )
        return self._process

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def run(self, order: Order) -> DoneRecord | Failure:
        """Do one task, or say which host it failed on (None: on none in particular)."""
        # A worker of a Dask scheduler that runs already may have several threads.
        with self._one_at_a_time:
            return self._run(order)

    def _run(self, order: Order) -> DoneRecord | Failure:
        process = self.start()
        assert process.stdin is not None
        assert process.stdout is not None
        host, since = None, time.monotonic()
        try:
            process.stdin.write(order.model_dump_json().encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it died in between; its end of the other pipe tells
        for line in process.stdout:
            reply = Reply.model_validate_json(line)
            if reply.record is not None:
                return reply.record
            if reply.error is not None:
                if not reply.blames_host:
                    self.stop()  # libraries may wait for threads that they could not start
                return Failure(host=host if reply.blames_host else None, reason=reply.error)
            host, since = reply.host, time.monotonic()
        code = process.wait()
        if self._process is not process:
            raise WorkerStopped
        late = time.monotonic() - since >= order.timeout
        return Failure(host=host, reason=_cause_of_death(code, order.timeout, late))


def _cause_of_death(code: int, timeout: float, late: bool) -> str:
    if code > 0 and late:
        return f"not done within {timeout:g} s"
    if code < 0:
        return f"the computing process was killed by {signal.Signals(-code).name}"
    return f"the computing process ended with exit code {code}"


_child = _Child()


def start_worker(place: Place) -> None:
    """Start this process's computing child, so that it is ready for the first task."""
    _child.place = place
    _child.start()


def stop_worker() -> None:
    """End this process's computing child."""
    _child.stop()
