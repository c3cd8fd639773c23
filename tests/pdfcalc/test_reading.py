"""Only regular files of a sensible size are read; all else is refused at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pdfcalc.crystals.inputs import as_structure
from pdfcalc.measured.gr_files import read_gr
from pdfcalc.reading import UnusableFile, is_regular, open_regular, read_file


def large_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk


def socket_in_place(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        # Where paths are too long for a socket.
        before = Path.cwd()
        os.chdir(path.parent)
        try:
            server.bind(path.name)
        finally:
            os.chdir(before)


NO_FILES: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": socket_in_place,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link that leads back": lambda path: path.symlink_to(path.name),
    "MiB, too much": large_file,
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_small_file_is_refused(tmp_path, kind):
    path = tmp_path / "file"
    NO_FILES[kind](path)
    with pytest.raises(UnusableFile, match=kind) as caught:
        read_file(path)
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("read", [read_gr, lambda path: as_structure(path, 0.005)])
def test_crystals_and_measurements_are_read_so(tmp_path, kind, read):
    path = tmp_path / "file"
    NO_FILES[kind](path)
    with pytest.raises(ValueError, match=kind) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_files_and_links_to_them_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link", largest=5) == b"12345"
    assert is_regular(tmp_path / "file")
    assert not is_regular(tmp_path / "link")
    assert not is_regular(tmp_path / "nothing")
    with open_regular(tmp_path / "file") as file:
        assert os.get_blocking(file.fileno()) or file.read() == b"12345"
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "nothing")
