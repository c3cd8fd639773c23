"""`defectpdf launch`: the processes of a training on this machine, and all again when one dies.

It does what torchrun would do, but no process unpickles what others may have put into a store, and
on one machine nothing listens beyond loopback.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from train.setup.endings import LOST, MISTAKE, REPORT, SIGNALS, STOPPED
from train.setup.rendezvous import ATTEMPT, STORE, interface_settings, open_port, reach_port

if TYPE_CHECKING:
    import torch.distributed as dist

RESTARTS = 3
FAILED = 1
_POLL = 0.1
_GRACE = 5.0
"""Seconds for processes to end by themselves once another has failed."""
_WRITING = 60.0
"""Seconds for one to write its snapshot once others have stopped."""
_TWICE = 1.0
"""Seconds within which a terminal and Slurm may both bring us one and the same Ctrl-C."""


@dataclass(frozen=True)
class Place:
    """What this machine has of all processes."""

    processes: int
    node: int = 0
    nodes: int = 1
    head: str | None = None
    """HOST:PORT of the first node; None for a single one."""

    def __post_init__(self) -> None:
        if self.nodes > 1 and not self.head:
            raise ValueError(f"--nodes {self.nodes} needs --head HOST:PORT, of the first node")
        if self.node >= self.nodes:
            raise ValueError(f"--node {self.node} is not one of 0 to {self.nodes - 1}: see --nodes")

    @property
    def ranks(self) -> range:
        return range(self.node * self.processes, (self.node + 1) * self.processes)


class Agreement(Protocol):
    """What nodes tell each other of an attempt."""

    def told(self, attempt: int) -> int | None:
        """The exit code that ends the attempt for all; None as long as there is none."""

    def settle(self, attempt: int, code: int) -> tuple[int, bool]:
        """Tell how this node's processes ended: the code for all, and if it is this node's."""

    def leave(self) -> None:
        """To be called when there is nothing more to agree on."""


class OneNode:
    def told(self, attempt: int) -> int | None:
        return None

    def settle(self, attempt: int, code: int) -> tuple[int, bool]:
        return code, True

    def leave(self) -> None:
        pass


class SeveralNodes:
    """By a store of torch: the first to say why an attempt ended is right."""

    def __init__(self, store: dist.Store, place: Place) -> None:
        self._store, self._place = store, place

    def told(self, attempt: int) -> int | None:
        key = f"nodes/{attempt}/code"
        return int(self._store.get(key).split(b" ")[0]) if self._store.check([key]) else None

    def settle(self, attempt: int, code: int) -> tuple[int, bool]:
        if code == 0:
            return self._wait_for_others(attempt), False
        if code == LOST:  # the node with the cause will say so
            deadline = time.monotonic() + 2 * _GRACE
            while self.told(attempt) is None and time.monotonic() < deadline:
                time.sleep(_POLL)
        own = f"{code} {self._place.node}"
        first = self._store.compare_set(f"nodes/{attempt}/code", "", own)
        return int(first.split(b" ")[0]), first == own.encode()

    def leave(self) -> None:
        self._store.add("nodes/left", 1)
        # The store is the first node's, so that it goes last.
        deadline = time.monotonic() + 2 * _GRACE
        while self._place.node == 0 and time.monotonic() < deadline:
            if self._store.add("nodes/left", 0) == self._place.nodes:
                break
            time.sleep(_POLL)

    def _wait_for_others(self, attempt: int) -> int:
        finished = f"nodes/{attempt}/finished"
        self._store.add(finished, 1)
        while self._store.add(finished, 0) < self._place.nodes:
            if (code := self.told(attempt)) is not None:
                return code
            time.sleep(_POLL)
        return 0


class Workers:
    """The processes of one attempt on this machine."""

    def __init__(self, place: Place, attempt: int, arguments: Sequence[str], folder: Path) -> None:
        self._reports = {rank: folder / f"report-{attempt}-{rank}" for rank in place.ranks}
        common = _environment(place, attempt, folder)
        # A signal waits until its process is ready for it, and until we know of all processes.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._processes = {
                rank: subprocess.Popen(
                    [sys.executable, "-m", "train", *arguments],
                    env=common | {"RANK": str(rank), "LOCAL_RANK": str(local), REPORT: str(report)},
                )
                for local, (rank, report) in enumerate(self._reports.items())
            }
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def signal(self, number: int) -> None:
        for process in self._processes.values():
            process.send_signal(number)

    def codes(self) -> dict[int, int]:
        """Exit codes of those that have ended, by rank; below zero after a signal."""
        found = {rank: process.poll() for rank, process in self._processes.items()}
        return {rank: code for rank, code in found.items() if code is not None}

    def kill(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def line(self, rank: int) -> str:
        """What a process has left to be said for it."""
        report = self._reports[rank]
        return report.read_text(encoding="utf-8") if report.exists() else ""


class Launcher:
    """Starts the processes of this machine, and all again where one dies by no user's will.

    Args:
        arguments: of `defectpdf train`.
        folder: of the user's alone.
    """

    def __init__(
        self, place: Place, agreement: Agreement, arguments: Sequence[str], folder: Path
    ) -> None:
        self._place, self._agreement = place, agreement
        self._arguments, self._folder = arguments, folder
        self._workers: Workers | None = None
        self._asked, self._interrupted = 0, 0.0

    def run(self) -> int:
        """The exit code: 0, 2 for a user's mistake, 130 or 143 if asked to stop, 1 if it failed."""
        for number in (*SIGNALS, signal.SIGHUP):
            signal.signal(number, self._pass_on)
        for attempt in range(RESTARTS + 1):
            try:
                self._workers = Workers(self._place, attempt, self._arguments, self._folder)
                codes = self._wait(self._workers, attempt)
            finally:
                if self._workers:
                    self._workers.kill()
            code = _verdict(codes)
            if self._asked and code not in (0, MISTAKE):
                code = 128 + self._asked
            code, is_own = self._agreement.settle(attempt, code)
            if is_own:
                self._say_why(attempt, code, codes)
            if code in (0, MISTAKE, *STOPPED):
                return code
        return FAILED

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGINT:
            if self._interrupted and now - self._interrupted > _TWICE:
                raise KeyboardInterrupt
            self._interrupted = self._interrupted or now
        self._asked = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
        if self._workers:
            self._workers.signal(self._asked)

    def _wait(self, workers: Workers, attempt: int) -> dict[int, int]:
        """Until all have ended, or those that are left have had their time."""
        since = None
        while True:
            codes, told = workers.codes(), self._agreement.told(attempt)
            if len(codes) == self._place.processes:
                return codes
            ended = (set(codes.values()) | {told}) - {0, None}
            if ended:
                since = since or time.monotonic()
                patience = _WRITING if ended <= set(STOPPED) else _GRACE
                if time.monotonic() - since > patience:
                    return codes
            time.sleep(_POLL)

    def _say_why(self, attempt: int, code: int, codes: dict[int, int]) -> None:
        assert self._workers
        if code == MISTAKE:
            (line, *_) = (self._workers.line(rank) for rank in codes if codes[rank] == MISTAKE)
            _say(line)
        elif code in STOPPED:
            # One that had begun has said how far it came.
            if codes.get(0, STOPPED[0]) not in STOPPED:
                _say("stopped; the same command continues")
        elif code:
            why = _causes(codes) or next(filter(None, map(self._workers.line, codes)), "all ended")
            then = f"all start again ({attempt + 1} of at most {RESTARTS} times)"
            _say(f"{why}; {then if attempt < RESTARTS else 'this was the last try'}")


def _environment(place: Place, attempt: int, folder: Path) -> dict[str, str]:
    own = {
        "WORLD_SIZE": str(place.nodes * place.processes),
        "LOCAL_WORLD_SIZE": str(place.processes),
        STORE: place.head or str(folder / f"store-{attempt}"),
        ATTEMPT: str(attempt),
    }
    threads = max(1, len(os.sched_getaffinity(0)) // place.processes)
    chosen = {"OMP_NUM_THREADS": str(threads)}
    interfaces = interface_settings(place.head)
    if place.head:
        return chosen | interfaces | os.environ | own
    # Sites set these for jobs of several nodes.
    return chosen | os.environ | interfaces | own


def _verdict(codes: dict[int, int]) -> int:
    """What ended an attempt, of all the ends of processes."""
    found = {128 - code if code < 0 else code for code in codes.values()} - {0}
    if MISTAKE in found:
        return MISTAKE
    if found - {LOST, *STOPPED}:
        return FAILED
    return min(found, key=lambda code: (code == LOST, code), default=0)


def _causes(codes: dict[int, int]) -> str:
    """Of a failure; empty if no process here has failed by itself."""
    return ", ".join(
        f"process {rank} was killed by {signal.Signals(-code).name}"
        if code < 0
        else f"process {rank} ended with exit code {code}"
        for rank, code in codes.items()
        if code not in (0, LOST, *STOPPED)
    )


def _say(line: str) -> None:
    print(f"defectpdf: {line}", file=sys.stderr, flush=True)


def launch(
    arguments: Annotated[
        list[str], typer.Argument(metavar="STORE --out RUN ...", help="As of `defectpdf train`.")
    ],
    processes: Annotated[
        int, typer.Option(min=1, help="On this machine; with GPUs, one for each.")
    ],
    nodes: Annotated[int, typer.Option(min=1, help="Machines, each with a launch.")] = 1,
    node: Annotated[
        int, typer.Option(min=0, envvar="SLURM_NODEID", help="Number of this machine, from 0.")
    ] = 0,
    head: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Of the first machine; it listens there only."),
    ] = None,
) -> None:
    """Train with several processes: `defectpdf launch --processes 4 STORE --out RUN`.

    All start again from the last snapshot when one dies, three times at most.
    """
    place = Place(processes, node, nodes, head) if nodes > 1 else Place(processes)
    with tempfile.TemporaryDirectory(prefix="defectpdf-") as folder:
        try:
            agreement = _agree(place)
            code = Launcher(place, agreement, arguments, Path(folder)).run()
            agreement.leave()
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        except RuntimeError as error:  # of torch's store
            if not place.head:
                raise
            _say(f"the first node at {head} is out of reach ({str(error).splitlines()[0]})")
            code = FAILED
    raise typer.Exit(code)


def _agree(place: Place) -> Agreement:
    if place.head is None:
        return OneNode()
    # Until the others are there we wait in compiled code, which only the system can interrupt.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    store = open_port(place.head) if place.node == 0 else reach_port(place.head)
    signal.signal(signal.SIGINT, before)
    return SeveralNodes(store, place)
