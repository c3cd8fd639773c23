"""Limits of a shell: one line that says which, from every engine and every command of stores."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs import TOML, command

from hpc.limits import remedy_of, require_room

NOT_ROOT = [
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    # The interpreter may lie where only root can read.
    *(
        f"--{kind}=-all,+dac_override,+dac_read_search"
        for kind in ("inh-caps", "ambient-caps", "bounding-set")
    ),
]
"""Root may have as many processes as it likes."""
READERS = {
    "status": (),
    "verify": (),
    "export": ("atoms.cif", "--structure", "0", "--variant", "1"),
    "report": ("-o", "report.html"),
}


def limited(
    limit: str, folder: Path, *arguments: object, launcher: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    as_user: list[str] = []
    if limit.startswith("-u") and os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("needs setpriv, as root has no limit")
        as_user = NOT_ROOT
    shell = ["bash", "-c", f'ulimit {limit} && exec "$@"', "bash"]
    return subprocess.run(
        [*as_user, *shell, *launcher, *command(*arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"HOME": str(folder), "NUMBA_CACHE_DIR": str(folder / "numba")},
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a run description; not pytest's own, which other users may not enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "run.toml").write_text(TOML)
        yield folder


def require_one_line(out: subprocess.CompletedProcess[str], what: str) -> None:
    assert out.returncode == 2, out.stderr
    (line,) = out.stderr.splitlines()
    assert line.startswith("defectpdf: error: "), line
    assert what in line, line


@pytest.mark.parametrize(
    ("limit", "engine", "what"),
    [
        ("-n 10", (), "open files"),
        ("-u 2", (), "processes and threads"),
        ("-v 500000", (), "MiB of memory"),
        *(
            pytest.param(limit, ("--workers", 2), what, marks=pytest.mark.slow)
            for limit, what in (
                ("-n 40", "open files"),
                ("-u 40", "processes and threads"),
                ("-v 1000000", "ulimit -v"),
            )
        ),
    ],
)
def test_a_limit_is_one_line_of_generate(folder, limit, engine, what):
    out = limited(limit, folder, "generate", "run.toml", "--store", "s.zarr", *engine)
    require_one_line(out, what)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "engine"),
    [("-n 30", ()), ("-n 80", ("--workers", 2)), ("-u 30", ()), ("-u 90", ("--workers", 2))],
)
def test_what_is_just_enough_is_not_refused(folder, limit, engine):
    out = limited(limit, folder, "generate", "run.toml", "--store", "s.zarr", *engine)
    assert out.returncode == 0, out.stderr
    assert "Traceback" not in out.stderr


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 3])
def test_of_mpi_ranks_one_says_it(folder, ranks):
    pytest.importorskip("mpi4py")
    mpiexec = Path(sys.executable).with_name("mpiexec")
    if not mpiexec.exists():
        pytest.skip("needs mpiexec")
    limited_rank = ("bash", "-c", 'ulimit -n 56 && exec "$@"', "bash")
    launcher = (str(mpiexec), "-n", str(ranks), *limited_rank)
    arguments = ("generate", "run.toml", "--store", "s.zarr", "--engine", "mpi")
    out = limited("-n 4096", folder, *arguments, launcher=launcher)
    assert out.returncode == 2
    told = [line for line in out.stderr.splitlines() if line.startswith("defectpdf: error: ")]
    assert len(told) == 1, out.stderr
    assert "an MPI rank may need 32 more open files" in told[0]
    assert "Traceback" not in out.stderr


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["-n 6", "-n 12", "-u 1", "-u 6", "-v 400000", "-v 700000"])
@pytest.mark.parametrize("name", READERS)
def test_a_limit_is_one_line_of_readers(oracle, tmp_path, limit, name):
    out = limited(limit, tmp_path, name, oracle, *READERS[name])
    require_one_line(out, f"ulimit {limit[:2]}")


def test_the_soft_limit_is_raised_as_far_as_it_may():
    code = (
        "import resource; from hpc.limits import require_room; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (32, 256)); "
        "require_room('this', files=100, threads=1, memory=1); "
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 100 < int(out.stdout) <= 256


def test_what_was_taken_for_the_look_is_given_back():
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    require_room("this", files=20, threads=20, memory=10)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_only_errors_of_limits_have_their_remedy():
    assert "ulimit -n" in (remedy_of(OSError(errno.EMFILE, "Too many open files")) or "")
    assert "ulimit -v" in (remedy_of(MemoryError()) or "")
    assert "ulimit -u" in (remedy_of(RuntimeError("can't start new thread")) or "")
    others = (OSError(errno.ENOSPC, "full"), OSError("no number"), RuntimeError("x"), KeyError(1))
    assert not any(map(remedy_of, others))
