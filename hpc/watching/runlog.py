"""The log of a run for programs: one JSON object a line, in the store's ledger.

Each `generate` writes a file of its own, `ledger/run-<start>-<node>-<pid>.jsonl`, so that the parts
of a job array don't get in each other's way.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

_SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT")


class Log(Protocol):
    """Writes an event with its facts."""

    def __call__(self, event: str, **facts: Any) -> None: ...


@contextmanager
def run_log(ledger: Path, **facts: Any) -> Iterator[Log]:
    """Opens a log with an event "start", and closes it with "end" and how the run ended."""
    node, pid = socket.gethostname(), os.getpid()
    began = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(began))
    with (ledger / f"run-{stamp}-{node}-{pid}.jsonl").open("a", encoding="utf-8") as file:

        def log(event: str, **facts: Any) -> None:
            entry = {"time": round(time.time(), 3), "event": event, **facts}
            file.write(json.dumps(entry) + "\n")
            file.flush()

        slurm = {name.lower(): os.environ[name] for name in _SLURM if name in os.environ}
        started_by = {"argv": sys.argv, "node": node, "pid": pid, **slurm}
        log("start", version=version("defectpdf"), **started_by, **facts)
        end = "complete"
        try:
            yield log
        except BaseException as error:
            end = f"{type(error).__name__}: {error}"
            raise
        finally:
            log("end", state=end, seconds=round(time.time() - began, 3))
