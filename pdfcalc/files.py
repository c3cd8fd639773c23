"""Files that are there whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def require_place(path: Path) -> None:
    """ValueError if no file can be written there: no such folder, or something else is there."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file: move it away or choose another place")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}; make it first")


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Have the whole file there or, if this is interrupted, what was there before.

    It is written beside its place, as `.NAME.PID.partial`, and renamed once it is on the disk, so
    that it is whole after a power failure, too. Links are followed. What is there and no file, such
    as a pipe, has nothing to be kept and is written to directly.

    Args:
        write: writes the file at the path that it is given.

    Raises:
        OSError: the disk is full, say, or there is no such folder; it names `path`.
    """
    if path.exists() and not path.is_file():
        write(path)
        return
    target = path.resolve()
    if not target.parent.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, "there is no such folder; make it first", str(path.parent)
        )
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with naming(path):
            write(temporary)
            sync(temporary)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def append_text(path: Path, text: str) -> None:
    """Have all of the text at the end of a file, or none of it and an OSError."""
    with naming(path), path.open("ab") as file:
        before = file.tell()
        try:
            file.write(text.encode())
            file.flush()
        except OSError:
            os.ftruncate(file.fileno(), before)
            raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an OSError, such as that of a full disk, name what is being written."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def sync(path: Path) -> None:
    """Have the system write a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
