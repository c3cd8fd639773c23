"""Opening what a user names, or what may have been damaged: regular files of a sensible size only.

A pipe is waited for, a device such as /dev/zero never ends. Neither is read.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

SMALL = 4 * 2**20
"""Bytes; what people write by hand takes some kilobytes."""


class UnusableFile(OSError):
    """What is there is no regular file, or a far too large one."""


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a file for reading bytes.

    Raises:
        UnusableFile: a folder, a pipe, a socket or a device is in its place.
        OSError: there is none, or it can't be opened.
    """
    require_regular(path)
    # Does not wait, should a pipe have come into the place meanwhile.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
    except OSError:
        file.close()
        raise
    return file


def read_file(path: str | os.PathLike[str], largest: int = SMALL) -> bytes:
    """The content of a file of at most `largest` bytes.

    Raises:
        UnusableFile: the file is larger, or none.
        OSError: as of `open_regular`.
    """
    with open_regular(path) as file:
        # A buffer is as large as is asked for, however small the file.
        content = file.read(min(os.fstat(file.fileno()).st_size, largest) + 1)
    if len(content) > largest:
        text = f"more than {largest / 2**20:.0f} MiB, too much for such a file"
        raise UnusableFile(errno.EINVAL, text, str(path))
    return content


def require_regular(path: str | os.PathLike[str]) -> None:
    """UnusableFile if there is something else than a regular file, or a link to one, at `path`."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UnusableFile(errno.ELOOP, "a link that leads back to itself", str(path)) from None
    _require_regular(path, mode)


def is_regular(path: Path) -> bool:
    """Whether a regular file itself, not a link to one, is at `path`."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise


def kind_of(mode: int) -> str:
    """What stands in a file's place, from the mode of its status, in a word or two."""
    return _KINDS.get(stat.S_IFMT(mode), "not a regular file")


_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _require_regular(path: str | os.PathLike[str], mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise UnusableFile(number, f"{kind_of(mode)}, where a file is needed", str(path))
