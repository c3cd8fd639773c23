"""Limits that the kernel enforces, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from train.setup.memory import cgroup_folders, left_in_cgroup, memory_limit

MIB = 2**20
# Takes nine tenths of what is said to be left, then as much again, which must fail.
TAKE = """
from train.setup.memory import memory_limit
left = memory_limit()
print(left)
most = bytearray(9 * left // 10)
try:
    bytearray(9 * left // 10)
except MemoryError:
    print("refused")
"""
# Reads a file, whose pages the kernel keeps, then takes memory.
FILL = """
import sys
from pathlib import Path
from train.setup.memory import memory_limit
print(memory_limit())
Path(sys.argv[1]).read_bytes()
print(memory_limit())
taken = b"x" * (64 * 2**20)
print(memory_limit())
"""


def test_without_limits_it_is_what_the_machine_has_left():
    assert 0 < memory_limit() <= psutil.virtual_memory().total


@pytest.mark.parametrize("option", ["-v", "-d"])
def test_what_ulimit_leaves_can_be_taken_and_no_more(option):
    script = f'ulimit {option} {400 * MIB // 1024}; exec "$0" -c "$1"'
    out = subprocess.run(["bash", "-c", script, sys.executable, TAKE], capture_output=True)
    assert out.returncode == 0, out.stderr
    left, refused = out.stdout.decode().split()
    assert 100 * MIB < int(left) < 400 * MIB
    assert refused == "refused"


@pytest.fixture
def limited_cgroup() -> Iterator[Path]:
    """A cgroup in one that is limited to 256 MiB."""
    for own in cgroup_folders():
        outer = own / f"defectpdf-test-{os.getpid()}"
        inner = outer / "inner"
        try:
            inner.mkdir(parents=True)
            for name in ("memory.max", "memory.limit_in_bytes"):
                if (outer / name).exists():
                    (outer / name).write_text(str(256 * MIB))
                    yield inner
                    return
        except OSError:
            continue
        finally:
            for folder in (inner, outer):
                with suppress(OSError):
                    folder.rmdir()
    pytest.skip("this user can't make a cgroup with a limit here")


def test_the_limit_of_a_parent_cgroup_counts_and_the_cache_of_files_does_not(
    limited_cgroup, tmp_path
):
    (tmp_path / "file").write_bytes(bytes(100 * MIB))
    os.sync()
    script = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    command = [sys.executable, "-c", FILL, tmp_path / "file"]
    out = subprocess.run(["bash", "-c", script, limited_cgroup, *command], capture_output=True)
    assert out.returncode == 0, out.stderr
    fresh, after_file, after_taking = map(int, out.stdout.split())
    assert 150 * MIB < fresh < 256 * MIB
    assert abs(after_file - fresh) < 16 * MIB
    assert 56 * MIB < after_file - after_taking < 80 * MIB


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ({"memory.max": "1000", "memory.current": "700"}, [1000 - 700 + 30 + 20]),
        ({"memory.max": "max", "memory.current": "700"}, []),
        ({"memory.limit_in_bytes": "1000", "memory.usage_in_bytes": "700"}, [1000 - 700 + 5 + 4]),
        ({}, []),
    ],
)
def test_both_versions_of_cgroups_are_read(version, expected, tmp_path):
    """The files as the kernel's admin-guide/cgroup-v2 and cgroup-v1/memory describe them."""
    for name, content in version.items():
        (tmp_path / name).write_text(content + "\n")
    (tmp_path / "memory.stat").write_text(
        "inactive_file 30\nactive_file 20\ntotal_inactive_file 5\ntotal_active_file 4\n"
    )
    assert list(left_in_cgroup(tmp_path)) == expected
