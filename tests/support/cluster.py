"""Submits jobs to a Slurm, waits for them, and has their logs at hand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY"}


@dataclass(frozen=True)
class Job:
    """A job, or one task of an array, as `scontrol show job` has it."""

    id: str
    state: str
    exit_code: int
    restarts: int
    log: str


class Slurm:
    """A Slurm by its configuration."""

    def __init__(self, configuration: str) -> None:
        # The jobs run this Python and these sources.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = os.environ | {"SLURM_CONF": configuration, "PATH": path}
        self._environment |= {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}

    def run(self, *command: object, cwd: Path | None = None, **environment: str) -> str:
        """The standard output of a command that finds this Slurm and must succeed."""
        out = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=self._environment | environment,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert out.returncode == 0, f"{command} failed: {out.stderr}"
        return out.stdout

    def submit(self, *arguments: object, cwd: Path, **environment: str) -> str:
        """The number of a new job; its log goes to `cwd`."""
        return self.run("sbatch", "--parsable", *arguments, cwd=cwd, **environment).strip()

    def jobs(self, number: str) -> list[Job]:
        """The job, or all tasks of an array."""
        listing = self.run("scontrol", "--oneliner", "show", "job", number)
        return [_parse(line) for line in listing.splitlines() if line]

    def wait(self, number: str, seconds: float = 120) -> list[Job]:
        """The job or the tasks of an array once they have ended."""
        self.until(lambda: {job.state for job in self.jobs(number)} <= ENDED, number, seconds)
        return self.jobs(number)

    def finish(self, number: str, seconds: float = 120) -> Job:
        """The job once it has ended well."""
        (job,) = self.wait(number, seconds)
        assert job.state == "COMPLETED", f"{job.state}, exit code {job.exit_code}; log:\n{job.log}"
        return job

    def until(self, condition: Callable[[], object], number: str, seconds: float = 60) -> None:
        """Wait until something holds that the job does."""
        end = time.monotonic() + seconds
        while not condition():
            jobs = self.jobs(number)
            assert time.monotonic() < end, f"nothing after {seconds} s: {jobs}"
            time.sleep(0.1)


def _parse(line: str) -> Job:
    found = dict(re.findall(r"\b(JobId|JobState|ExitCode|Restarts|StdOut)=(\S+)", line))
    log = Path(found["StdOut"])
    return Job(
        id=found["JobId"],
        state=found["JobState"],
        exit_code=int(found["ExitCode"].split(":")[0]),
        restarts=int(found["Restarts"]),
        log=log.read_text() if log.is_file() else "",
    )
