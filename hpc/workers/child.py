"""The computing process of a worker: `python -m hpc.workers.child`, which supervisor.py starts.

Takes orders from standard input and answers on standard output, one line of JSON each, and ends
with its parent.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hpc.limits import remedy_of

if TYPE_CHECKING:
    from hpc.store.ledger import DoneRecord
    from hpc.workers.supervisor import Order, Reply

    RunTask = Callable[[Order, Callable[[str | None], None]], DoneRecord]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Serve until there are no more orders."""
    # What ends a whole terminal or Slurm job is for the parent, which then ends this process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # If the parent is killed, also where Python is stuck in compiled code.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not look like a reply
    try:
        _serve(replies)
    except BrokenPipeError:
        os._exit(1)  # the parent is gone


def _serve(replies: IO[str]) -> None:
    try:
        from hpc.workers.supervisor import Order
        from hpc.workers.work import run_task
    # As under a limit on memory or threads.
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        sys.stdin.buffer.readline()
        replies.write(json.dumps({"error": _in_words(error)}) + "\n")
        replies.flush()
        return
    for line in sys.stdin.buffer:  # UTF-8, whatever the locale
        _say(replies, _carry_out(Order.model_validate_json(line), run_task, replies))


def _carry_out(order: Order, run_task: RunTask, replies: IO[str]) -> Reply:
    from hpc.workers.supervisor import Reply

    def watch(host: str | None) -> None:
        # Ends this process even where Python is stuck in compiled code, and shows where.
        faulthandler.dump_traceback_later(order.timeout, exit=True)
        _say(replies, Reply(host=host))

    try:
        return Reply(record=run_task(order, watch))
    except BrokenPipeError:
        raise
    except (OSError, ImportError) as error:
        return Reply(error=_in_words(error))
    except MemoryError as error:
        return Reply(error=_in_words(error), blames_host=True)
    except Exception as error:
        if remedy_of(error):
            return Reply(error=_in_words(error))
        fault = f"fault of the program: {_in_words(error)}, {_place_of(error)}"
        return Reply(error=fault, blames_host=True)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _say(replies: IO[str], reply: Reply) -> None:
    replies.write(reply.model_dump_json(exclude_defaults=True) + "\n")
    replies.flush()


def _in_words(error: Exception) -> str:
    words = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.strerror:
        words = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    # What a host has too little memory for is said of that host.
    remedy = None if isinstance(error, MemoryError) else remedy_of(error)
    return f"{words}: {remedy}" if remedy else words


def _place_of(error: Exception) -> str:
    """Where an exception was raised, as in "in draw (defectgen/sources/defects.py, line 9)"."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    file = "/".join(Path(last.filename).parts[-3:])
    return f"in {last.name} ({file}, line {last.lineno})"


if __name__ == "__main__":
    main()
