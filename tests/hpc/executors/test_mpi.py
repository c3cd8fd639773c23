"""MPI ranks give the serial store, and end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from runs import command, files_of, until

from hpc.store.store import Store

MPIEXEC = Path(sys.executable).with_name("mpiexec")
pytestmark = pytest.mark.skipif(
    not MPIEXEC.exists(), reason="no mpiexec beside this Python: pip install 'defectpdf[mpi]'"
)
SCRIPT = """
from hpc.executors import start_executor
from hpc.store.ledger import FailedTask
from hpc.plan import Task

def work(task):
    return FailedTask(task=task.index, reason="")

def tasks():
    for index in range(500):
        taken.append(index)
        yield Task(index=index, start=index, stop=index + 1, first="a", last="a")

taken, done, ahead = [], [], 0
with start_executor("mpi", 1) as execute:
    if execute is not None:
        for outcome in execute(work, tasks()):
            done.append(outcome.task)
            ahead = max(ahead, len(taken) - len(done))
        print(ahead, sorted(done) == list(range(500)))
"""


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_any_number_of_ranks_gives_the_same_bytes(oracle, bench, count):
    run = bench.start("--engine=mpi", launcher=(str(MPIEXEC), "-n", str(count)))
    _, err = run.communicate(timeout=100)
    assert run.returncode == 0, err
    assert files_of(bench.store) == files_of(oracle)


def test_tasks_are_taken_as_ranks_come_free(tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(SCRIPT)
    out = subprocess.run(
        [MPIEXEC, "-n", "3", sys.executable, script],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    ahead, complete = out.stdout.split()
    assert 2 <= int(ahead) <= 4
    assert complete == "True"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_ends_all(oracle, bench, rank):
    hosts = {host.id: {"fault": "hang", "times": 99} for host in Store(oracle).items}
    run = bench.start("--engine=mpi", launcher=(str(MPIEXEC), "-n", "3"), hosts=hosts)
    computed = bench.folder / "shards"
    until(lambda: computed.exists() and len(computed.read_text().splitlines()) == 2, run)
    ranks = psutil.Process(run.pid).children(recursive=True)
    (told,) = (r.pid for r in ranks if "hpc.workers.child" not in r.cmdline() and is_rank(r, rank))
    os.kill(told, signal.SIGTERM)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 143
    assert "SystemExit(143) ends all ranks" in err
    assert "Traceback" not in err
    bench.wait_until_all_have_ended(run.pid)


def is_rank(process: psutil.Process, rank: int) -> bool:
    return process.environ().get("PMI_RANK") == str(rank)


def test_ranks_that_do_not_know_of_each_other_are_refused(bench):
    """As srun starts them where it does not speak the interface of the MPI library."""
    pytest.importorskip("mpi4py")
    out = subprocess.run(
        command("generate", bench.run_toml, "--store", bench.store, "--engine=mpi"),
        env=os.environ | {"SLURM_STEP_NUM_TASKS": "2"},
        capture_output=True,
        text=True,
    )
    assert (out.returncode, len(out.stderr.splitlines())) == (2, 1)
    assert "srun --mpi=pmi2" in out.stderr
