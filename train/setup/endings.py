"""How a process ends that can't go on: an exit code, and one line."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import typer

from hpc.limits import remedy_of

MISTAKE = 2
LOST = 75
"""Exit code of a process whose connection to another broke; the cause is with the other."""
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
"""What asks a training to stop."""

REPORT = "DEFECTPDF_REPORT"
"""Variable with the file in which a process leaves its last line for `defectpdf launch`."""
_NO_ROOM = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free space there") | {
    errno.EFBIG: "raise the limit of the size of files (ulimit -f)"
}
"""What helps where a file can't be written."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Newer versions of typer bring their own click, so that the class has no fixed home.
UsageError: Any = typer.BadParameter.__base__
MISTAKES = (UsageError, ValueError, OSError, ImportError, MemoryError)
"""Exceptions that are for the user, and no fault of the program."""


class ProcessesLost(Exception):
    """Another process of this training has died, or is out of reach."""


def one_line(error: BaseException) -> str:
    """What a user is told of one of `MISTAKES`: the file, the reason, the remedy."""
    if isinstance(error, UsageError):
        return f"{error.format_message()} See `defectpdf --help`."
    if isinstance(error, MemoryError):
        line = f"not enough memory: {error}"
    elif isinstance(error, OSError) and error.filename:
        line = f"{error.filename}: {error.strerror}"
    else:
        line = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        room = _NO_ROOM[error.errno]
        line += f"; nothing written before is lost: {room} and run the same command again"
    remedy = remedy_of(error)
    return line if remedy is None or remedy in line else f"{line}: {remedy}"


def say_and_exit(line: str, code: int) -> NoReturn:
    """End this process of a training; of several processes one speaks for all."""
    if report := os.environ.get(REPORT):
        Path(report).write_text(line, encoding="utf-8")
    elif code == LOST or os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr)
    sys.exit(code)


def say_warnings() -> None:
    """From now on a warning is a line for the user, without the place in the code."""

    def say(message: Warning | str, *_: object, **__: object) -> None:
        print(f"defectpdf: warning: {' '.join(str(message).split())}", file=sys.stderr)

    warnings.showwarning = say


def follow_launcher() -> None:
    """Under `defectpdf launch`: die with it, and by a Ctrl-C at once until it is of use."""
    if REPORT not in os.environ:
        return
    # Also where Python is stuck in compiled code, such as a wait for the other processes.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
