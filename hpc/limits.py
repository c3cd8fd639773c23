"""Limits on files, threads and memory, of a shell (ulimit), a batch system or a container.

What runs into one in the middle of its work, in threads and processes of libraries, prints
tracebacks without end or waits forever. So there is a look at them before, and a word after.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource
import threading
from contextlib import ExitStack

_NO_THREAD = "can't start new thread"
_REMEDIES = {
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "this machine has no more open files",
    errno.EAGAIN: "raise the limits on processes (ulimit -u) and on memory for threads (ulimit -v)",
    errno.ENOMEM: "raise the limit on memory (ulimit -v)",
}


def remedy_of(error: BaseException) -> str | None:
    """What helps where an error is one of limits, and says nothing of what was being done."""
    if isinstance(error, MemoryError):
        return _REMEDIES[errno.ENOMEM]
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return _REMEDIES[errno.EAGAIN]
    return _REMEDIES.get(error.errno or 0) if isinstance(error, OSError) else None


def require_room(what: str, files: int, threads: int, memory: int) -> None:
    """See that this process could have so much more at once, by taking it for a moment.

    Args:
        what: that needs it, for the error.
        files: open ones.
        threads: those of processes that it starts included.
        memory: MiB of address space.

    Raises:
        OSError: a limit is below; the message says which and how much is needed.
    """
    for take, amount, unit, number in (
        (_take_files, files, "open files", errno.EMFILE),
        (_take_memory, memory, "MiB of memory", errno.ENOMEM),
        (_take_threads, threads, "processes and threads", errno.EAGAIN),
    ):
        try:
            take(amount)
        except (OSError, RuntimeError):
            text = f"{what} may need {amount} more {unit} than are in use: {_REMEDIES[number]}"
            raise OSError(number, text) from None


def _take_files(count: int) -> None:
    lower, upper = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = len(os.listdir("/proc/self/fd")) + count
    if lower < wanted <= upper:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, upper))
    with ExitStack() as taken:
        for _ in range(count):
            taken.callback(os.close, os.open(os.devnull, os.O_RDONLY))


def _take_threads(count: int) -> None:
    enough = threading.Event()
    taken = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=enough.wait, daemon=True)
            thread.start()
            taken.append(thread)
    finally:
        enough.set()
        for thread in taken:
            thread.join()


def _take_memory(size: int) -> None:
    mmap.mmap(-1, size * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
