"""Files are there whole or as they were before."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from pdfcalc.files import require_place, write_atomically


def test_a_file_that_fails_half_way_is_as_it_was_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("before")

    def failing(place):
        place.write_text("half")
        assert path.read_text() == "before"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, failing)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["kept.txt"]


def test_what_a_killed_writer_leaves_is_named_as_partial(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("before")
    program = (
        "import os, signal, sys; from pathlib import Path; from pdfcalc.files import *\n"
        "def write(place):\n"
        "    place.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(Path(sys.argv[1]), write)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_text() == "before"
    (left,) = set(tmp_path.rglob("*.partial"))
    assert left.read_text() == "half"


def test_links_are_followed_and_pipes_stay(tmp_path):
    (tmp_path / "real.txt").write_text("before")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_atomically(tmp_path / "link.txt", lambda place: place.write_text("after"))
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "after"
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    write_atomically(pipe, lambda place: place.write_text("through"))
    reader.join(timeout=30)
    assert received == ["through"]
    assert pipe.is_fifo()


def test_a_place_where_no_file_can_be_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder; make it first: '.*nowhere'"):
        write_atomically(tmp_path / "nowhere" / "a", lambda place: place.touch())
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path, lambda place: place.write_text("no"))
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere; make it first"):
        require_place(tmp_path / "nowhere" / "a")
    with pytest.raises(ValueError, match="is not a file: move it away"):
        require_place(tmp_path)
