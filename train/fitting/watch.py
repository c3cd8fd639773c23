"""When to write a snapshot and when to stop, agreed on by all processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import typer

from train.setup.endings import SIGNALS

if TYPE_CHECKING:
    from train.setup.distributed import World

_DUE = 1  # less than the number of any signal that we take
_TWICE = 1.0
"""Seconds within which a terminal, Slurm and a launcher may bring us one and the same Ctrl-C."""


class StopRequested(Exception):
    """Some process was asked to stop. All meet it at the same place."""

    def __init__(self, number: int) -> None:
        super().__init__(f"asked to stop by signal {number}")
        interrupted = number == signal.SIGINT
        self.exit_code = 128 + (signal.SIGINT if interrupted else signal.SIGTERM)


class Watch:
    """In its context, SIGINT, SIGTERM and SIGUSR2 only take effect in `snapshot_is_due`.

    A second SIGINT is a KeyboardInterrupt at once.

    Args:
        seconds: between snapshots.
    """

    def __init__(self, world: World, seconds: float) -> None:
        self._world, self._seconds = world, seconds
        self._last = time.monotonic()
        self._asked, self._interrupted = 0, 0.0

    def __enter__(self) -> Watch:
        self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._asked = self._asked or number
        if number == signal.SIGINT:
            now = time.monotonic()
            if self._interrupted and now - self._interrupted > _TWICE:
                raise KeyboardInterrupt
            self._interrupted = self._interrupted or now

    def snapshot_is_due(self) -> bool:
        """Whether the last one is too long ago; to be called by all processes.

        Raises:
            StopRequested: a process was asked to stop.
        """
        due = self._world.is_main and time.monotonic() - self._last >= self._seconds
        verdict = self._world.most(self._asked or due * _DUE)
        if verdict > _DUE:
            raise StopRequested(verdict)
        if verdict:
            self._last = time.monotonic()
        return bool(verdict)


@contextmanager
def stopping() -> Iterator[None]:
    """Make the exit code of a request to stop, and a line where nobody has said one.

    Raises:
        typer.Exit: with 130 after a Ctrl-C, 143 after another signal.
    """
    try:
        yield
    except StopRequested as request:
        raise typer.Exit(request.exit_code) from None
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            print("defectpdf: stopped; the same command continues", file=sys.stderr)
        raise typer.Exit(128 + signal.SIGINT) from None
