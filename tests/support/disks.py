"""Disks that are full when a test says so."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

_SMALLEST = 4096


class SmallDisk:
    """A folder on a disk of some megabytes, or else under a limit of the sizes of files."""

    def __init__(self, folder: Path, is_disk: bool) -> None:
        self.folder, self._is_disk = folder, is_disk

    @contextmanager
    def full(self, process: int) -> Iterator[None]:
        """For that process and its descendants."""
        fill = self._fill if self._is_disk else self._limit
        with fill(process):
            yield

    @contextmanager
    def _fill(self, _process: int) -> Iterator[None]:
        filler = self.folder / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(_SMALLEST)):
                pass
        try:
            yield
        finally:
            filler.unlink()

    @contextmanager
    def _limit(self, process: int) -> Iterator[None]:
        _, most = before = resource.getrlimit(resource.RLIMIT_FSIZE)
        for member in (psutil.Process(process), *psutil.Process(process).children(recursive=True)):
            resource.prlimit(member.pid, resource.RLIMIT_FSIZE, (_SMALLEST, most))
        try:
            yield
        finally:
            if process == os.getpid():
                resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def small_disk(folder: Path, megabytes: int = 16) -> Iterator[SmallDisk]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        is_disk = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        is_disk = False
    if not is_disk and not hasattr(resource, "prlimit"):
        pytest.skip("no small disk can be mounted here, and the sizes of files can't be limited")
    try:
        yield SmallDisk(folder, is_disk)
    finally:
        if is_disk:
            subprocess.run(["umount", str(folder)], check=True)
