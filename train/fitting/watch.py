"""When to write a snapshot and when to stop, agreed on by all processes."""

from __future__ import annotations

import signal
import time
from types import FrameType

from train.setup.distributed import World

_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
_STOP = 2


class StopRequested(Exception):
    """Some process was asked to stop. All meet it at the same place."""


class Watch:
    """In its context, SIGTERM and SIGUSR2 only take effect in `snapshot_is_due`.

    Args:
        seconds: between snapshots.
    """

    def __init__(self, world: World, seconds: float) -> None:
        self._world, self._seconds = world, seconds
        self._last = time.monotonic()
        self._asked = False

    def __enter__(self) -> Watch:
        self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True

    def snapshot_is_due(self) -> bool:
        """Whether the last one is too long ago; to be called by all processes.

        Raises:
            StopRequested: a process was asked to stop.
        """
        due = self._world.is_main and time.monotonic() - self._last >= self._seconds
        verdict = self._world.most(_STOP if self._asked else int(due))
        if verdict == _STOP:
            raise StopRequested
        if verdict:
            self._last = time.monotonic()
        return bool(verdict)
