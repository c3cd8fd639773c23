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

_FILES, _MEMORY = 16, 768  # MiB, most of it address space for compiled code of libraries
_MOST_OF_BLAS = 64  # threads of the OpenBLAS that comes with numpy
_RANKS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
_NO_THREAD = "can't start new thread"
_REMEDIES = {
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "this machine has no more open files",
    errno.EAGAIN: "raise the limits on processes (ulimit -u) and on memory for threads (ulimit -v)",
    errno.ENOMEM: "raise the limit on memory (ulimit -v)",
}


def remedy_of(error: BaseException) -> str | None:
    """What helps where an error is one of limits, and says nothing of what was being done."""
    if isinstance(error, MemoryError) or _is_of_loading(error):
        return _REMEDIES[errno.ENOMEM]
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return _REMEDIES[errno.EAGAIN]
    return _REMEDIES.get(error.errno or 0) if isinstance(error, OSError) else None


def _is_of_loading(error: BaseException) -> bool:
    """Whether a library could not be loaded where memory is limited."""
    is_limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    return isinstance(error, (ImportError, OSError)) and is_limited and "shared obj" in str(error)


def threads_of_zarr() -> int:
    """Threads that a process may have which reads or writes a store, beside its first."""
    return 4 + min(10, (os.cpu_count() or 1) + 4)


def require_room_to_start() -> None:
    """As `require_room`, for any command: before libraries are imported, which start threads.

    The ranks of an MPI job look together, later: one that ended alone would leave others waiting.
    """
    if any(name in os.environ for name in _RANKS):
        return
    of_blas = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    n_blas = int(of_blas) if of_blas and of_blas.isdecimal() else len(os.sched_getaffinity(0))
    require_room(
        "a command",
        files=_FILES,
        threads=threads_of_zarr() + min(n_blas, _MOST_OF_BLAS),
        memory=_MEMORY,
    )


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
    # For reading: what could be written would count where memory is not promised twice.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    mmap.mmap(-1, size * 2**20, flags=flags, prot=mmap.PROT_READ).close()
