"""Faults for real processes, and a count of what they compute.

Python imports this file when it starts, where its folder is on PYTHONPATH; it acts on a process
that is told to by DEFECTPDF_FAULTS, a file of JSON:

    folder   of the marks and counters that the processes of a run share
    store    path that the counted events are about
    kill     {"event": K, "whom": "self", "worker" or "group"}: SIGKILL at the K-th event (a file
             of the store is opened, renamed, made or removed), whatever the process; "worker" is
             the one that supervises the computing
    before_record   task number: SIGKILL when its data are written and its record is not
    hosts    {id: {"fault": "raise" | "hang" | "die" | "memory" | "disk", "times": N}}
"""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_COUNTED = {"open", "os.rename", "os.mkdir", "os.remove", "os.link"}


def _count(file: int) -> int:
    """The number of times that this was called, by any process."""
    os.write(file, b".")
    return os.lseek(file, 0, os.SEEK_CUR)


def _kill_at(event: int, whom: str, folder: Path, store: str) -> None:
    counter = os.open(folder / "events", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        about_store = name in _COUNTED and any(
            isinstance(a, str | bytes | os.PathLike) and os.fsdecode(a).startswith(store)
            for a in arguments[:2]
        )
        if about_store and _count(counter) == event:
            if whom == "group":
                os.killpg(os.getpgrp(), signal.SIGKILL)
            is_child = "hpc.workers.child" in sys.orig_argv
            os.kill(os.getppid() if whom == "worker" and is_child else os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _strike(fault: str) -> None:
    if fault == "raise":
        raise RuntimeError("struck")
    if fault == "memory":
        raise MemoryError("struck")
    if fault == "disk":
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    if fault == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    # Keeps Python's lock, as compiled code that does not return.
    ctypes.PyDLL(None).sleep(1000)


def _patch(work: ModuleType, faults: dict[str, Any], folder: Path) -> None:
    """Have hosts fail as told, and write down which shards are computed and finished."""
    log = os.open(folder / "shards", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    item_rows, compute, write_record = work.item_rows, work._compute, work.write_record

    def failing_rows(item: Any, *others: Any) -> Any:
        fault = faults.get("hosts", {}).get(item.id)
        if fault:
            counter = os.open(folder / item.id, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            if _count(counter) <= fault["times"]:
                _strike(fault["fault"])
        return item_rows(item, *others)

    def noted_compute(store: Any, order: Any, *others: Any) -> Any:
        os.write(log, b"compute %d\n" % order.task.index)
        return compute(store, order, *others)

    def noted_record(ledger: Path, record: Any) -> None:
        if faults.get("before_record") == record.task:
            os.kill(os.getpid(), signal.SIGKILL)
        write_record(ledger, record)
        os.write(log, b"done %d\n" % record.task)

    work.item_rows, work._compute, work.write_record = failing_rows, noted_compute, noted_record


class _Finder:
    """Patches hpc.workers.work once it is imported."""

    def __init__(self, faults: dict[str, Any]) -> None:
        self.faults = faults

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name != "hpc.workers.work":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _patch(module, self.faults, Path(self.faults["folder"]))

        spec.loader.exec_module = exec_module
        return spec


if "DEFECTPDF_FAULTS" in os.environ:
    _faults = json.loads(Path(os.environ["DEFECTPDF_FAULTS"]).read_text())
    sys.meta_path.insert(0, _Finder(_faults))
    if "kill" in _faults:
        _kill_at(**_faults["kill"], folder=Path(_faults["folder"]), store=_faults["store"])
