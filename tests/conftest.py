"""For all tests; a real Slurm for those that are marked `slurm`: see slurm_sandbox.sh."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Slurm
from hypothesis import settings

# What a shell runs in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is no matter of a test: a busy machine would make it fail.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def _slurm_configuration() -> Iterator[str]:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    programs = ("slurmctld", "slurmd", "munged", "sbatch")
    missing = [program for program in programs if not shutil.which(program, path=path)]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and slurm-wlm and munge (missing: {', '.join(missing) or 'root'})")
    script = Path(__file__).with_name("slurm_sandbox.sh")
    # Not pytest's folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        out = subprocess.run(["bash", script, "start", folder], capture_output=True, text=True)
        assert out.returncode == 0, out.stderr
        try:
            yield out.stdout.strip()
        finally:
            subprocess.run(["bash", script, "stop", folder], check=True)


@pytest.fixture
def slurm(_slurm_configuration: str) -> Iterator[Slurm]:
    """A Slurm of one node with 8 CPUs, on which no job of another test runs."""
    slurm = Slurm(_slurm_configuration)
    yield slurm
    slurm.run("scancel", "--user=root")
