"""Progress of a run: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hpc.watching.console import plain_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, Task

log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def track(n_hosts: int, n_variants: int) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the number of hosts that have been finished."""
    console = plain_console(stderr=True)
    if console.is_terminal and n_hosts:
        with _bar(console) as progress:
            bar = progress.add_task("PDFs", total=n_hosts * n_variants)
            yield lambda hosts: progress.advance(bar, hosts * n_variants)
    else:
        yield _LogLines(n_hosts, n_variants).advance


def _bar(console: Console) -> Progress:
    from rich.progress import MofNCompleteColumn, Progress, ProgressColumn, TimeElapsedColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.0f} PDFs/s" if speed else "", style="progress.data.speed")

    return Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        console=console,
    )


class _LogLines:
    def __init__(self, n_hosts: int, n_variants: int) -> None:
        self._total, self._n_variants = n_hosts, n_variants
        self._done, self._started = 0, time.monotonic()
        self._last = self._started

    def advance(self, hosts: int) -> None:
        self._done += hosts
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_LINES and self._done < self._total:
            return
        self._last = now
        rate = self._done / max(now - self._started, 1e-9)
        log.info(
            "%d of %d hosts, %.0f PDFs/s, ETA %.0f s",
            self._done,
            self._total,
            rate * self._n_variants,
            (self._total - self._done) / rate,
        )
