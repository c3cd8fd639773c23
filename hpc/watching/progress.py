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

    from hpc.description import RunDescription

log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def track(description: RunDescription, n_hosts: int) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the number of hosts that have been finished."""
    n_variants, of_samples = description.source.n_variants, description.of_samples
    console = plain_console(stderr=True)
    if console.is_terminal and n_hosts:
        with _bar(console, of_samples) as progress:
            bar = progress.add_task(of_samples, total=n_hosts * n_variants)
            yield lambda hosts: progress.advance(bar, hosts * n_variants)
    else:
        yield _LogLines(n_hosts, n_variants, of_samples).advance


def _bar(console: Console, of_samples: str) -> Progress:
    from rich.progress import MofNCompleteColumn, Progress, ProgressColumn, TimeElapsedColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.0f} {of_samples}/s" if speed else "", style="progress.data.speed")

    return Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        console=console,
    )


class _LogLines:
    def __init__(self, n_hosts: int, n_variants: int, of_samples: str) -> None:
        self._total, self._n_variants, self._of_samples = n_hosts, n_variants, of_samples
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
            "%d of %d hosts, %.0f %s/s, ETA %.0f s",
            self._done,
            self._total,
            rate * self._n_variants,
            self._of_samples,
            (self._total - self._done) / rate,
        )
