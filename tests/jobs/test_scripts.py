"""The scripts by themselves, and on a machine without Slurm."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from runs import TOML

from hpc.store.inspect import verify

PROJECT = Path(__file__).parents[2]
JOBS = PROJECT / "jobs"
SCRIPTS = sorted([*JOBS.glob("*.sh"), PROJECT / ".ci/run", PROJECT / "tests/slurm_sandbox.sh"])
HOSTILE = 'it\'s "a" $(touch pwned) `touch pwned` * \\ --engine=dask; touch pwned'


@pytest.fixture
def bash(tmp_path):
    """Runs a script in a folder with a run description, where no program of Slurm is found."""
    (tmp_path / "run.toml").write_text(TOML)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "env", "mv", "nproc", "sed"):
        (programs / name).symlink_to(str(shutil.which(name)))
    path = f"{programs}:{Path(sys.executable).parent}"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(programs / "bash"), *map(str, arguments)],
            cwd=tmp_path,
            env={"PATH": path, "PYTHONPATH": str(PROJECT), "WORKERS": "1"},
            capture_output=True,
            text=True,
            timeout=100,
        )

    return run


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_bash(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_shellcheck_finds_nothing():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    options = ["--severity=warning", "--external-sources", "--source-path=SCRIPTDIR"]
    # Variables that environment.sh sets are used by those that source it.
    options += ["--shell=bash", "--exclude=SC2034,SC2154"]
    subprocess.run(["shellcheck", *options, *SCRIPTS], check=True)


def test_jobs_that_start_together_make_one_environment(tmp_path):
    """With a program in place of Python that makes an environment slowly, and tells."""
    (tmp_path / "jobs").mkdir()
    script = shutil.copy(JOBS / "environment.sh", tmp_path / "jobs")
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/bash\necho made >> {tmp_path}/made\nsleep 1\nmkdir -p $3/bin\n"
        "printf '#!/bin/bash' > $3/bin/python\nchmod +x $3/bin/python\n"
    )
    python.chmod(0o755)
    started = [
        subprocess.Popen(
            ["bash", "-c", f"source {script} && command -v python"],
            env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    found = [process.communicate(timeout=60)[0].strip() for process in started]
    assert found == [str(tmp_path / ".venv/bin/python")] * 3
    assert (tmp_path / "made").read_text() == "made\n"


def test_without_slurm_a_store_is_made_on_this_machine(bash, tmp_path):
    (tmp_path / HOSTILE).mkdir()
    store = f"{HOSTILE}/s.zarr"
    out = bash(JOBS / "generate.sh", "run.toml", "--store", store)
    assert out.returncode == 0, out.stderr
    assert verify(tmp_path / store)["ok"]
    assert not list(tmp_path.rglob("pwned"))


def test_a_dry_run_writes_nothing(bash, tmp_path):
    out = bash(JOBS / "generate.sh", "run.toml", "--store=s.zarr", "--dry-run")
    assert out.returncode == 0, out.stderr
    assert "11 hosts" in out.stdout or "11 of 11" in out.stdout
    assert not (tmp_path / "s.zarr").exists()


def test_the_pipeline_says_what_it_would_submit(bash, tmp_path):
    arguments = ["run.toml", "--store", HOSTILE, "--out=r 1", "--limit", "5", "--dry-run"]
    out = bash(JOBS / "pipeline.sh", *arguments)
    assert out.returncode == 0, out.stderr
    assert "5 of 5" in out.stdout
    generate, train, evaluate = map(shlex.split, out.stdout.splitlines()[-3:])
    after = ["--dependency=afterok:JOB1", "--kill-on-invalid-dep=yes"]
    assert generate[1:] == [f"{JOBS}/generate.sh", "run.toml", "--limit", "5", "--store", HOSTILE]
    assert train[1:] == [*after, f"{JOBS}/train.sh", HOSTILE, "--out", "r 1"]
    assert evaluate[2:] == [after[1], f"{JOBS}/evaluate.sh", "r 1", HOSTILE]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bin", "run.toml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pipeline.sh", "--store=s", "--out=r"], "no sbatch here"),
        (["pipeline.sh", "--store=s"], "usage"),
        (["pipeline.sh", "--out=r", "--store"], "--store needs a path"),
        (["evaluate.sh", "r"], "usage"),
        (["generate.sh", "absent.toml", "--store=s"], "absent.toml"),
        pytest.param(["train.sh", "absent.zarr", "--out=r"], "absent.zarr", marks=pytest.mark.slow),
    ],
)
def test_mistakes_are_named_in_one_line(bash, arguments, message):
    script, *rest = arguments
    out = bash(JOBS / script, *rest)
    assert (out.returncode, len(out.stderr.splitlines())) == (2, 1), out.stderr
    assert message in out.stderr
