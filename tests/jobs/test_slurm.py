"""The jobs on a real Slurm give the store of a serial run, whatever stops them on the way."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cluster import Slurm
from runs import TOML, Bench

from hpc.store.inspect import verify

pytestmark = pytest.mark.slurm

JOBS = Path(__file__).parents[2] / "jobs"
# Some seconds on one core: long enough to be stopped after its first shard.
LONG = """
hosts_per_shard = 1
[library]
limit = 120
[defects]
variants_per_kind = 30
"""


def digest(store: Path) -> str:
    found = verify(store)
    assert found["ok"], found["problems"]
    return found["digest"]


def serial_digest(folder: Path, text: str) -> str:
    bench = Bench(folder)
    (folder / "run.toml").write_text(text)
    assert bench.generate().returncode == 0
    return digest(bench.store)


@pytest.fixture(scope="module")
def small_digest(tmp_path_factory) -> str:
    return serial_digest(tmp_path_factory.mktemp("small"), TOML)


@pytest.fixture(scope="module")
def long_digest(tmp_path_factory) -> str:
    return serial_digest(tmp_path_factory.mktemp("long"), LONG)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where jobs are submitted: not the project, with the descriptions of two runs."""
    (tmp_path / "small.toml").write_text(TOML)
    (tmp_path / "long.toml").write_text(LONG)
    return tmp_path


def submit_and_hold(slurm: Slurm, folder: Path, *options: str, **environment: str) -> str:
    """A job whose step has been halted after its first shard; a TERM is what goes on from there."""
    job = slurm.submit(
        "--ntasks=1",
        *options,
        JOBS / "generate.sh",
        "long.toml",
        "--store",
        "s.zarr",
        cwd=folder,
        **environment,
    )
    hold(slurm, folder, job)
    return job


def hold(slurm: Slurm, folder: Path, job: str) -> None:
    before = len(list(folder.glob("s.zarr/ledger/0*.json")))
    slurm.until(lambda: len(list(folder.glob("s.zarr/ledger/0*.json"))) > before, job)
    slurm.run("scancel", "--signal=STOP", job)


def stop(slurm: Slurm, job: str) -> None:
    """What --signal does at a job's walltime."""
    notices = slurm.jobs(job)[0].log.count("must stop")
    slurm.run("scancel", "--batch", "--signal=TERM", job)
    let_stop(slurm, job, notices)


def let_stop(slurm: Slurm, job: str, notices: int = 0) -> None:
    """Let the halted step of a job see the TERM that its script has got."""
    slurm.until(lambda: slurm.jobs(job)[0].log.count("must stop") > notices, job)
    slurm.run("scancel", "--signal=CONT", job)


@pytest.mark.parametrize("options", [[], ["--engine", "dask"]], ids=["mpi", "dask"])
def test_ranks_and_workers_give_the_serial_store(slurm, folder, small_digest, options):
    job = slurm.submit(
        "-n3", JOBS / "generate.sh", "small.toml", "--store", "s.zarr", *options, cwd=folder
    )
    slurm.finish(job)
    assert digest(folder / "s.zarr") == small_digest


@pytest.mark.parametrize("array", ["0-2", "4-8:2"])
def test_an_array_gives_the_serial_store(slurm, folder, small_digest, array):
    job = slurm.submit(
        "-n2",
        f"--array={array}",
        JOBS / "generate.sh",
        "small.toml",
        "--store=s.zarr",
        cwd=folder,
    )
    tasks = slurm.wait(job)
    assert [task.state for task in tasks] == ["COMPLETED"] * 3, [task.log for task in tasks]
    # Each task has a log of its own, and did its part only.
    assert all(len(re.findall(r"\d+ PDFs computed", task.log)) == 1 for task in tasks)
    computed = [int(re.findall(r"(\d+) PDFs computed", task.log)[0]) for task in tasks]
    assert sum(computed) == 11 * 5
    assert max(computed) <= 4 * 5
    assert digest(folder / "s.zarr") == small_digest


def test_an_uneven_array_is_refused(slurm, folder):
    job = slurm.submit(
        "-n1", "--array=0,1,3", JOBS / "generate.sh", "small.toml", "--store=s.zarr", cwd=folder
    )
    tasks = slurm.wait(job)
    assert [task.exit_code for task in tasks] == [2, 2, 2]
    assert all(re.fullmatch(".*evenly spaced.*\n", task.log) for task in tasks)
    assert not (folder / "s.zarr").exists()


def test_names_are_not_evaluated(slurm, folder, small_digest):
    name = 'it\'s "a" $(touch pwned) `touch pwned` * \\ --engine=dask; touch pwned'
    (folder / name).mkdir()
    store = f"{name}/s.zarr"
    job = slurm.submit("-n1", JOBS / "generate.sh", "small.toml", "--store", store, cwd=folder)
    slurm.finish(job)
    assert digest(folder / store) == small_digest
    assert not list(folder.rglob("pwned"))


def test_a_mistake_ends_the_job_with_one_line(slurm, folder):
    (folder / "wrong.toml").write_text("sede = 1")
    job = slurm.submit("-n1", JOBS / "generate.sh", "wrong.toml", "--store=s.zarr", cwd=folder)
    (ended,) = slurm.wait(job)
    assert (ended.state, ended.exit_code, ended.restarts) == ("FAILED", 2, 0)
    assert len([line for line in ended.log.splitlines() if "srun" not in line]) == 1
    assert "wrong.toml: sede" in ended.log


def test_at_its_walltime_a_job_is_requeued_and_completes(slurm, folder, long_digest):
    # A minute before the end, so that there is another one for the first shard.
    job = submit_and_hold(slurm, folder, "--time=2", "--signal=B:TERM@60")
    # Slurm looks at walltimes every half minute.
    slurm.until(lambda: "must stop" in slurm.jobs(job)[0].log, job, seconds=150)
    let_stop(slurm, job)
    slurm.until(lambda: slurm.jobs(job)[0].restarts == 1, job)
    slurm.run("scontrol", "update", f"jobid={job}", "timelimit=60")
    ended = slurm.finish(job)
    assert ended.restarts == 1
    assert "shards are done already" in ended.log
    assert digest(folder / "s.zarr") == long_digest


def test_dask_stops_in_time_too(slurm, folder, long_digest):
    arguments = [JOBS / "generate.sh", "long.toml", "--store=s.zarr", "--engine=dask"]
    job = slurm.submit("--ntasks=1", *arguments, cwd=folder)
    slurm.until(lambda: list(folder.glob("s.zarr/ledger/0*.json")), job)
    slurm.run("scancel", "--batch", "--signal=TERM", job)
    ended = slurm.finish(job)
    assert ended.restarts == 1
    assert digest(folder / "s.zarr") == long_digest


def test_a_job_is_requeued_no_more_often_than_asked(slurm, folder):
    job = submit_and_hold(slurm, folder, DEFECTPDF_MAX_REQUEUES="1")
    stop(slurm, job)
    slurm.until(lambda: slurm.jobs(job)[0].restarts == 1, job)
    hold(slurm, folder, job)
    stop(slurm, job)
    (ended,) = slurm.wait(job)
    assert (ended.state, ended.exit_code, ended.restarts) == ("FAILED", 143, 1)
    assert "was restarted 1 times, DEFECTPDF_MAX_REQUEUES is 1: it ends" in ended.log


def test_a_preempted_job_is_requeued_and_completes(slurm, folder, long_digest):
    job = submit_and_hold(slurm, folder)
    urgent = slurm.submit("--partition=high", "--exclusive", "--wrap=true", cwd=folder)
    slurm.finish(urgent)
    ended = slurm.finish(job)
    assert ended.restarts == 1
    assert digest(folder / "s.zarr") == long_digest


def test_a_cancelled_job_stays_cancelled(slurm, folder):
    job = submit_program(slurm, folder, "touch ready$1; exec sleep 60")
    slurm.until((folder / "ready").exists, job)
    slurm.run("scancel", job)
    (ended,) = slurm.wait(job)
    assert (ended.state, ended.restarts) == ("CANCELLED", 0)
    assert "must stop" in ended.log


@pytest.mark.parametrize(
    ("code", "state"), [(0, "COMPLETED"), (2, "FAILED"), (1, "PENDING"), (143, "PENDING")]
)
def test_only_what_can_go_on_is_requeued(slurm, folder, code, state):
    """A program that ends with a code of its own after the TERM."""
    job = submit_program(slurm, folder, f"trap 'exit {code}' TERM; touch ready$1; sleep 60 & wait")
    slurm.until((folder / "ready").exists, job)
    slurm.run("scancel", "--batch", "--signal=TERM", job)
    slurm.until(lambda: slurm.jobs(job)[0].state in {"COMPLETED", "FAILED", "PENDING"}, job)
    (ended,) = slurm.jobs(job)
    assert ended.state == state, ended.log
    assert ended.restarts == (state == "PENDING")
    assert state == "PENDING" or ended.exit_code == code


def test_only_the_task_of_an_array_that_stops_is_requeued(slurm, folder):
    """The last task has the number of the array, with which Slurm means all tasks."""
    array = submit_program(slurm, folder, "touch ready$1; exec sleep 60", "--array=0-1")
    slurm.until(lambda: len(list(folder.glob("ready*"))) == 2, array)
    (last,) = [task.id for task in slurm.jobs(array) if task.id == array]
    slurm.run("scancel", "--batch", "--signal=TERM", f"{last}_1")
    slurm.until(lambda: sum(task.restarts for task in slurm.jobs(array)) == 1, array)
    states = {task.id == last: task.state for task in slurm.jobs(array)}
    assert states[False] == "RUNNING"


def submit_program(slurm: Slurm, folder: Path, program: str, *options: str) -> str:
    """A job that runs a bash program, with its place in an array as $1, as the jobs do theirs."""
    script = folder / "job.sh"
    script.write_text(
        f"#!/bin/bash\nsource '{JOBS}/slurm.sh'\n"
        'run bash -c "$1" program "${SLURM_ARRAY_TASK_ID:-}"\n'
    )
    return slurm.submit("--requeue", "--open-mode=append", *options, script, program, cwd=folder)


def test_training_has_a_process_for_each_task(slurm, folder, small_digest):
    slurm.run("defectpdf", "generate", "small.toml", "--store=s.zarr", cwd=folder)
    job = slurm.submit(
        "--ntasks-per-node=2",
        "--cpus-per-task=1",
        JOBS / "train.sh",
        "s.zarr",
        "--out=run",
        "--epochs=2",
        cwd=folder,
        TORCH_CPP_LOG_LEVEL="INFO",
        TORCH_DISTRIBUTED_DEBUG="INFO",
    )
    log = slurm.finish(job).log
    assert set(re.findall(r"\brank: (\d)", log)) == {"0", "1"}, log
    assert "Job step may never run" not in log
    assert (folder / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_training_that_must_stop_goes_on_in_the_queue(slurm, folder, processes):
    slurm.run("defectpdf", "generate", "small.toml", "--store=s.zarr", cwd=folder)
    job = slurm.submit(
        f"--ntasks-per-node={processes}",
        "--cpus-per-task=1",
        JOBS / "train.sh",
        "s.zarr",
        "--out=run",
        "--epochs=400",
        cwd=folder,
    )
    history = folder / "run" / "metrics.jsonl"
    slurm.until(lambda: history.exists() and history.read_text().count("\n") > 3, job)
    slurm.run("scancel", "--batch", "--signal=TERM", job)
    slurm.until(lambda: slurm.jobs(job)[0].restarts == 1, job)
    log = slurm.finish(job, seconds=180).log
    stopped = re.search(r"stopped after epoch (\d+).*; the same command continues", log)
    assert stopped, log
    assert f"continuing run after epoch {stopped[1]}" in log
    assert "goes back to the queue, restart 1" in log
    assert history.read_text().count("\n") == 400


def test_the_pipeline_goes_from_the_description_to_the_report(slurm, folder, small_digest):
    out = slurm.run(
        "bash", JOBS / "pipeline.sh", "small.toml", "--store=my s.zarr", "--out", "r 1", cwd=folder
    )
    numbers = re.findall(r"(?:generate|train|evaluate) (\d+)", out)
    assert len(numbers) == 3
    for number in numbers:
        slurm.finish(number, seconds=180)
    assert digest(folder / "my s.zarr") == small_digest
    scores = json.loads((folder / "r 1" / "evaluation.json").read_text())
    assert 0 <= scores["accuracy"] <= 1
    assert "<html" in (folder / "r 1" / "report.html").read_text()


def test_what_follows_a_failure_is_cancelled(slurm, folder):
    (folder / "wrong.toml").write_text("sede = 1")
    out = slurm.run(
        "bash", JOBS / "pipeline.sh", "wrong.toml", "--store=s.zarr", "--out=run", cwd=folder
    )
    states = [slurm.wait(number)[0].state for number in re.findall(r"[ne] (\d+)", out)]
    assert states == ["FAILED", "CANCELLED", "CANCELLED"]
