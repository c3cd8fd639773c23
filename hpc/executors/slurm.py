"""Dask workers under Slurm: each one a job that is submitted, or a task of the present job.

An open scheduler would run anyone's code. All that listens beyond one machine speaks TLS, with
credentials made for the one run.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dask.config import get
from distributed import Scheduler, SpecCluster
from distributed.security import Security

from hpc.executors.workers import ENVIRONMENT, LOOPBACK, Workers, connect

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster

log = logging.getLogger(__name__)

_JOB_NAME = "defectpdf-worker"
# Workers on other nodes don't get the settings of this process.
_ENVIRONMENT = ENVIRONMENT | {
    "DASK_LOGGING__DISTRIBUTED": "error",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
_SECONDS_TO_FIND_SCHEDULER = 60
_SECONDS_TO_STOP = 20
# Jobs that ended together, as at their walltime, are replaced within this time.
_SECONDS_WITHOUT_JOBS = 60
_WORKER_OPTIONS = [
    "--nthreads=1",
    "--memory-limit=0",
    # Its web server is there all the same.
    "--no-dashboard",
    f"--dashboard-address={LOOPBACK}:0",
    f"--death-timeout={_SECONDS_TO_FIND_SCHEDULER}",
]
# A worker leaves its job this much before the walltime, so that no task is cut off.
_LARGEST_MARGIN = 600


@contextmanager
def _credentials(shared: Path) -> Iterator[Security]:
    """Credentials of one run, in files that only the user may read and that go with it."""
    try:
        temporary = Security.temporary()
    except ImportError:
        raise ImportError("TLS needs cryptography: pip install 'defectpdf[slurm]'") from None
    shared.mkdir(parents=True, exist_ok=True)
    # Folder of mode 0700.
    with tempfile.TemporaryDirectory(prefix=".defectpdf-tls-", dir=shared) as folder:
        certificate, key = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        for path, content in (
            (certificate, temporary.tls_worker_cert),
            (key, temporary.tls_worker_key),
        ):
            path.touch(mode=0o600)
            path.write_text(content)
        roles = ("client", "scheduler", "worker")
        yield Security(
            require_encryption=True,
            tls_ca_file=str(certificate),
            **{f"tls_{role}_cert": str(certificate) for role in roles},
            **{f"tls_{role}_key": str(key) for role in roles},
        )


@contextmanager
def srun_workers(workers: int, shared: Path) -> Iterator[Workers]:
    """Each task of the Slurm job that this process is in is a worker.

    Args:
        workers: must be 1; the job's number of tasks counts.
        shared: folder that all nodes of the job see.

    Raises:
        ImportError: cryptography is not installed.
        ValueError: this is no Slurm job.
    """
    if workers != 1:
        raise ValueError(f"--workers {workers}: with --cluster srun, sbatch --ntasks sets it")
    if "SLURM_JOB_ID" not in os.environ:
        raise ValueError(
            "--cluster srun is for use within a Slurm job; outside use --cluster slurm"
        )
    one_node = os.environ.get("SLURM_JOB_NUM_NODES") == "1"
    with _credentials(shared) as security:
        options = {
            "protocol": "tls://",
            "security": security,
            "host": LOOPBACK if one_node else None,
            "interface": None if one_node else get("jobqueue.slurm.interface", None),
            "dashboard_address": f"{LOOPBACK}:0",
        }
        scheduler = {"cls": Scheduler, "options": options}
        with (
            SpecCluster(
                scheduler=scheduler, security=security, silence_logs=logging.ERROR
            ) as cluster,
            connect(cluster) as client,
        ):
            command = _worker_command(cluster.scheduler_address, security, one_node)
            with _srun(command, before_end=client.shutdown) as check:
                yield Workers(client, cluster.scheduler_address, "srun is starting them", check)


def _worker_command(address: str, security: Security, one_node: bool) -> list[str]:
    n_tasks = os.environ.get("SLURM_NTASKS", "1")
    # The steps of an interactive job share its cores; one worker's end leaves the others be.
    step = ["--overlap", "--kill-on-bad-exit=0", "--wait=0", f"--job-name={_JOB_NAME}"]
    interface = get("jobqueue.slurm.interface", None)
    return [
        *("srun", f"--ntasks={n_tasks}", *step),
        *(sys.executable, "-m", "distributed.cli.dask_worker", address),
        *_WORKER_OPTIONS,
        f"--tls-ca-file={security.tls_ca_file}",
        f"--tls-cert={security.tls_worker_cert}",
        f"--tls-key={security.tls_worker_key}",
        *([f"--host={LOOPBACK}"] if one_node else []),
        *([f"--interface={interface}"] if interface and not one_node else []),
    ]


@contextmanager
def _srun(command: list[str], before_end: Callable[[], object]) -> Iterator[Callable[[int], None]]:
    """Runs srun within, and yields a check that it still runs."""
    process = subprocess.Popen(
        command,
        env=os.environ | _ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        # An interrupt is for this process, which then ends srun.
        start_new_session=True,
    )

    def check(n_workers: int) -> None:
        if process.poll() is not None:
            raise ChildProcessError(
                f"the srun of the Dask workers has ended with exit code {process.returncode}; "
                "its messages are above"
            )

    try:
        yield check
    finally:
        with suppress(OSError):
            before_end()
        for end in (process.terminate, process.kill):
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_STOP)
                break
            end()


@contextmanager
def slurm_workers(workers: int, shared: Path) -> Iterator[Workers]:
    """Each worker is a job, which is submitted again when it ends.

    Account, partition, walltime and other settings of the site come from dask-jobqueue's own
    configuration files.

    Args:
        workers: how many jobs of one core each.
        shared: folder that all nodes see.

    Raises:
        ImportError: dask-jobqueue or cryptography is not installed.
        OSError: a job can't be submitted.
    """
    shared = Path(get("jobqueue.slurm.shared-temp-directory", None) or shared).expanduser()
    if len(str(shared).split()) > 1:
        raise ValueError(
            f"{shared}: dask-jobqueue can't have a space in the path of its certificates: set "
            "jobqueue.slurm.shared-temp-directory to another folder that all nodes see"
        )
    with (
        _credentials(shared) as security,
        _started(_submitting_cluster(security), workers) as cluster,
        connect(cluster) as client,
    ):
        # A job that ends, at its walltime or because its node fails, is replaced.
        cluster.adapt(minimum_jobs=workers, maximum_jobs=workers, interval="5s")
        hint = f"`squeue --me` shows their jobs; their logs are in {_job_logs().absolute()}"
        yield Workers(client, cluster.scheduler_address, hint, _JobCheck(cluster))


def _submitting_cluster(security: Security) -> SLURMCluster:
    # dask-jobqueue takes interrupts for itself when it is imported.
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise ImportError(
            "--cluster slurm needs dask-jobqueue: pip install 'defectpdf[slurm]'"
        ) from None
    finally:
        signal.signal(signal.SIGINT, interrupt)
    exports = [f"export {name}={value}" for name, value in _ENVIRONMENT.items()]
    return SLURMCluster(
        cores=1,
        processes=1,
        memory=get("jobqueue.slurm.memory", None) or "2GiB",
        # Many sites forbid --mem.
        job_directives_skip=["--mem", *get("jobqueue.slurm.job-directives-skip", [])],
        job_name=_JOB_NAME,
        job_script_prologue=[*get("jobqueue.slurm.job-script-prologue", []), *exports],
        worker_extra_args=[
            *_WORKER_OPTIONS,
            *_lifetime(get("jobqueue.slurm.walltime")),
            *get("jobqueue.slurm.worker-extra-args", []),
        ],
        log_directory=str(_job_logs()),
        security=security,
        scheduler_options={"dashboard_address": f"{LOOPBACK}:0"},
    )


def _job_logs() -> Path:
    return Path(get("jobqueue.slurm.log-directory", None) or "defectpdf-jobs")


@contextmanager
def _started(cluster: SLURMCluster, workers: int) -> Iterator[SLURMCluster]:
    """The cluster with its jobs submitted; they are cancelled when it is left."""

    async def submit() -> None:
        await cluster

    while len(cluster.worker_spec) < workers:
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        cluster.sync(submit)
    except (OSError, RuntimeError, ValueError) as error:
        # It fails to close jobs that were never submitted, and must not try again at the exit.
        cluster.shutdown_on_close = False
        with suppress(AssertionError):
            cluster.close()
        reason = str(error).rpartition("stderr:")[2].strip()
        raise OSError(f"the jobs of the Dask workers can't be submitted: {reason}") from None
    with cluster:
        yield cluster


def _lifetime(walltime: str | None) -> list[str]:
    """Options that end a worker between two tasks before its job is ended."""
    seconds = walltime_seconds(walltime)
    if seconds is None:
        return []
    margin = min(seconds / 10, _LARGEST_MARGIN)
    # Not all at once, as they would all have to be replaced.
    return [f"--lifetime={seconds - margin:.0f}s", f"--lifetime-stagger={margin / 2:.0f}s"]


def walltime_seconds(walltime: str | None) -> float | None:
    """Seconds (s) of Slurm's "minutes", "[hours:]minutes:seconds" or "days-hours[:...]".

    Returns:
        None where there is no limit.

    Raises:
        ValueError: it is none of these.
    """
    if walltime is None or walltime.upper() in ("UNLIMITED", "INFINITE"):
        return None
    days, dash, rest = walltime.rpartition("-")
    try:
        parts = [int(part) for part in rest.split(":")]
        if dash:
            hours, minutes, seconds = (*parts, 0, 0)[:3]
            return int(days) * 86400 + hours * 3600 + minutes * 60 + seconds
        if len(parts) == 1:
            return parts[0] * 60
        hours, minutes, seconds = (0, *parts)[-3:]
        return hours * 3600 + minutes * 60 + seconds
    except ValueError:
        raise ValueError(f"jobqueue.slurm.walltime: {walltime!r} is not as Slurm has it") from None


class _JobCheck:
    """Raises where there is no worker, and Slurm knows none of their jobs any more."""

    def __init__(self, cluster: SLURMCluster) -> None:
        self._cluster = cluster
        self._last_seen = time.monotonic()

    def __call__(self, n_workers: int) -> None:
        now = time.monotonic()
        if n_workers:
            self._last_seen = now
        if now - self._last_seen < _SECONDS_WITHOUT_JOBS:
            return
        if self._n_jobs():
            self._last_seen = now
            return
        raise ChildProcessError(
            "all jobs of the Dask workers have ended without a worker; their logs in "
            f"{_job_logs().absolute()} say why"
        )

    def _n_jobs(self) -> int:
        jobs = ",".join(str(job.job_id) for job in self._cluster.workers.values())
        listing = subprocess.run(
            ["squeue", "--noheader", "--format=%i", f"--jobs={jobs}"],
            capture_output=True,
            text=True,
            check=False,
        )
        # With a message on stderr where there is no such job.
        return len(listing.stdout.split())
