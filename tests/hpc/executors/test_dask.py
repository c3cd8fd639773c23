"""Dask workers of all kinds give the serial store, and are open to nobody else."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dask.utils import key_split
from runs import command, files_of, until

from hpc.executors import start_executor
from hpc.executors.dask import task_name
from hpc.executors.scheduler import scheduler_address
from hpc.executors.slurm import walltime_seconds
from hpc.executors.workers import local_workers, quieten
from hpc.plan import Task
from hpc.store.inspect import verify
from hpc.store.ledger import FailedTask
from hpc.store.store import Store


def tasks_to(count: int, taken: list[int] | None = None) -> Iterator[Task]:
    for index in range(count):
        if taken is not None:
            taken.append(index)
        yield Task(index=index, start=index, stop=index + 1, first="a", last="a")


@contextlib.contextmanager
def dask_command(*arguments: object, **environment: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, arguments)],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def scheduler(folder: Path, **environment: str) -> Iterator[tuple[subprocess.Popen, Path]]:
    """A scheduler on loopback, as a user starts it, and its file."""
    file = folder / "scheduler.json"
    where = ["--host=127.0.0.1", "--port=0", "--dashboard-address=127.0.0.1:0"]
    if environment:
        where.append("--protocol=tls")
    with dask_command("scheduler", *where, f"--scheduler-file={file}", **environment) as process:
        until(lambda: file.exists() and file.read_text().endswith("}"), process)
        yield process, file


def workers(file: Path, count: int, **environment: str):
    of = [f"--scheduler-file={file}", "--nthreads=1", f"--nworkers={count}"]
    where = ["--host=127.0.0.1", "--no-dashboard"]
    return dask_command("worker", *of, *where, **environment)


def address_in(file: Path) -> str:
    return json.loads(file.read_text())["address"]


def generate(bench, *options: str) -> subprocess.CompletedProcess[str]:
    out = bench.generate(*options)
    assert out.returncode == 0, out.stderr
    return out


@pytest.mark.parametrize(
    "count", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)]
)
def test_any_number_of_workers_gives_the_same_bytes(oracle, bench, count):
    out = generate(bench, "--engine=dask", f"--workers={count}")
    port = re.search(r"ssh -N -L (\d+):127\.0\.0\.1:(\d+) (\S+)\)", out.stderr)
    assert port
    assert f"http://127.0.0.1:{port[1]}/status" in out.stderr
    assert (port[1], port[3]) == (port[2], socket.gethostname())
    assert files_of(bench.store) == files_of(oracle)
    assert verify(bench.store)["digest"] == verify(oracle)["digest"]


@pytest.mark.slow
def test_a_performance_report_is_written(oracle, bench):
    report = bench.folder / "report.html"
    generate(bench, f"--performance-report={report}")
    assert "Task Stream" in report.read_text()
    assert files_of(bench.store) == files_of(oracle)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--engine=serial", "--performance-report=r.html"],
            "--performance-report is for --engine",
        ),
        (["--performance-report=no/such/r.html"], "there is no folder no/such"),
        (["--engine=mpi", "--scheduler=x"], "--scheduler is for --engine dask, not for mpi"),
        (["--cluster=local", "--scheduler=x"], "leave --scheduler out"),
        (["--workers=3", "--scheduler=x"], "--workers 3 has no meaning with --scheduler"),
        (["--cluster=srun"], "within a Slurm job"),
        (["--cluster=srun", "--workers=2"], "sbatch --ntasks"),
    ],
)
def test_options_that_do_not_go_together_are_refused(bench, options, message):
    out = bench.generate(*options)
    assert out.returncode == 2
    assert message in out.stderr.splitlines()[-1]
    assert "Traceback" not in out.stderr
    assert not bench.store.exists()


@pytest.mark.slow
def test_tasks_are_taken_as_workers_come_free_and_nothing_listens_beyond_loopback():
    taken: list[int] = []
    done = []
    before = listening()  # what other tests of this process left open
    with start_executor("dask", 2) as execute:
        assert execute is not None
        # Dask sends functions of this file as they are, as workers can't import it.
        work = eval("lambda task: outcome(task=task.index, reason='')", {"outcome": FailedTask})
        ahead = 0
        for outcome in execute(work, tasks_to(200, taken)):
            done.append(outcome.task)
            ahead = max(ahead, len(taken) - len(done))
        assert {address for address, _ in listening() - before} == {"127.0.0.1"}
    assert sorted(done) == list(range(200))
    assert 2 <= ahead <= 6


def listening() -> set[tuple[str, int]]:
    """Addresses and ports where this process and those under it listen."""
    own = psutil.Process()
    return {
        (connection.laddr.ip, connection.laddr.port)
        for process in (own, *own.children(recursive=True))
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }


def test_tasks_are_named_by_their_hosts_and_make_one_group():
    task = Task(index=12, start=24, stop=26, first="Ac-225", last="Al-225")
    name = task_name(task, "0a1b2c3d")
    assert name == "pdfs-000012-Ac-225-to-Al-225-0a1b2c3d"
    assert key_split(name) == "pdfs"


@pytest.mark.slow
def test_a_scheduler_that_runs_is_used_by_address_and_by_file(oracle, bench):
    with scheduler(bench.folder) as (process, file), workers(file, 2):
        generate(bench, f"--scheduler={file}")
        assert files_of(bench.store) == files_of(oracle)
        again = bench.folder / "again.zarr"
        run = command("generate", bench.run_toml, "--store", again)
        subprocess.run([*run, f"--scheduler={address_in(file)}"], check=True, timeout=60)
        assert files_of(again) == files_of(oracle)
        # It is not ours to stop.
        assert process.poll() is None


@pytest.mark.slow
def test_a_scheduler_with_tls_takes_its_credentials_from_dask(oracle, bench, monkeypatch):
    with _certificates(bench.folder) as environment:
        with (
            scheduler(bench.folder, **environment) as (_, file),
            workers(file, 1, **environment),
        ):
            out = bench.generate(f"--scheduler={file}")
            assert out.returncode == 2
            assert "distributed.comm.tls.ca-file" in out.stderr
            assert "Traceback" not in out.stderr
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            generate(bench, f"--scheduler={file}")
        assert files_of(bench.store) == files_of(oracle)


@contextlib.contextmanager
def _certificates(folder: Path) -> Iterator[dict[str, str]]:
    """Credentials as variables that Dask reads its configuration from."""
    from hpc.executors.slurm import _credentials

    with _credentials(folder) as security:
        variables = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": security.tls_ca_file}
        for role in ("client", "scheduler", "worker"):
            prefix = f"DASK_DISTRIBUTED__COMM__TLS__{role.upper()}"
            variables[f"{prefix}__CERT"] = security.tls_worker_cert
            variables[f"{prefix}__KEY"] = security.tls_worker_key
        yield variables


def test_credentials_are_private_and_go_with_the_run(tmp_path):
    from hpc.executors.slurm import _credentials

    with _credentials(tmp_path) as security:
        folder = Path(security.tls_worker_key).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_scheduler_ends_the_run_with_one_line_and_loses_nothing(oracle, bench):
    host = Store(oracle).items[4].id
    hosts = {host: {"fault": "hang", "times": 1}}
    environment = bench.environment(hosts=hosts)
    with scheduler(bench.folder) as (process, file), workers(file, 1, **environment):
        run = bench.start(f"--scheduler={file}", hosts=hosts)
        until(lambda: (bench.folder / host).exists(), run)
        process.kill()
        _, err = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "Traceback" not in err
    assert re.search(r"the Dask scheduler tcp://\S+ is gone.*run generate again", err)
    generate(bench, "--engine=serial")
    assert files_of(bench.store) == files_of(oracle)


@pytest.mark.slow
def test_workers_may_go_and_others_come(oracle, bench):
    with scheduler(bench.folder) as (_, file):
        run = bench.start(f"--scheduler={file}")
        until(lambda: (bench.store / "zarr.json").exists(), run)
        with workers(file, 1):
            until(lambda: list(bench.store.glob("ledger/0*.json")), run)
        with workers(file, 2):
            _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "no Dask worker is there" in err
    assert files_of(bench.store) == files_of(oracle)


def test_no_scheduler_is_said_in_time(monkeypatch):
    monkeypatch.setattr("hpc.executors.scheduler._SECONDS_TO_CONNECT", 1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with (
        pytest.raises(ConnectionError, match=f"tcp://127.0.0.1:{port} within 1 s"),
        start_executor("dask", 1, scheduler=f"tcp://127.0.0.1:{port}"),
    ):
        pass


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("tcp://10.1.2.3:8786", "open to everyone"),
        ("tcp://[2001:db8::1]:8786", "open to everyone"),
        ("tcp://login.example.org:8786", "open to everyone"),
        ("tcp://127.0.0.1.example.org:8786", "open to everyone"),
        ("tcp://0.0.0.0:8786", "open to everyone"),
        ("ucx://127.0.0.1:8786", "is not an address"),
        ("tls://node1", "is not an address"),
        ("tls://node1:123456", "is not an address"),
        ("node1:8786", "neither an address"),
    ],
)
def test_schedulers_that_are_not_safe_or_not_there_are_refused(address, message):
    with pytest.raises(ValueError, match=message):
        scheduler_address(address)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://localhost:1", "tls://node1:1"])
def test_safe_addresses_are_taken(address, tmp_path):
    assert scheduler_address(address) == address
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": address}))
    file.chmod(0o644)
    assert scheduler_address(str(file)) == address


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_scheduler_file_that_others_may_write_is_refused(tmp_path, mode):
    file = tmp_path / "scheduler.json"
    file.write_text('{"address": "tls://node1:8786"}')
    file.chmod(mode)
    with pytest.raises(ValueError, match="chmod go-w"):
        scheduler_address(str(file))


@pytest.mark.parametrize("content", ["", "[]", "{}", "tls://node1:8786"])
def test_a_scheduler_file_without_an_address_is_refused(tmp_path, content):
    file = tmp_path / "scheduler.json"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(ValueError, match="not a scheduler file"):
        scheduler_address(str(file))


@pytest.mark.slow
def test_a_lost_worker_loses_nothing(oracle, bench):
    host = Store(oracle).items[4].id
    run = bench.start("--engine=dask", "--workers=1", hosts={host: {"fault": "hang", "times": 1}})
    until(lambda: (bench.folder / host).exists(), run)
    below = psutil.Process(run.pid).children(recursive=True)
    psutil.Process(next(p for p in below if "hpc.workers.child" in p.cmdline()).ppid()).kill()
    # What it left unfinished, though it hung, ended with it, and lets go of the pipe.
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert files_of(bench.store) == files_of(oracle)


@pytest.mark.parametrize(
    ("walltime", "seconds"),
    [
        ("30", 1800),
        ("01:30", 90),
        ("00:30:00", 1800),
        ("1-0", 86400),
        ("2-03:04", 183840),
        ("2-03:04:05", 183845),
        ("UNLIMITED", None),
        (None, None),
    ],
)
def test_walltimes_are_read_as_slurm_reads_them(walltime, seconds):
    assert walltime_seconds(walltime) == seconds


def test_a_wrong_walltime_is_named():
    with pytest.raises(ValueError, match=r"jobqueue\.slurm\.walltime: 'soon'"):
        walltime_seconds("soon")


@pytest.fixture(autouse=True)
def _quiet():
    """The loggers that starting an engine quietens speak again for the next test."""
    names = ("distributed.client", "distributed.sizeof")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.slow
def test_workers_say_nothing_once_all_went_well():
    def may_speak() -> bool:
        return logging.getLogger("distributed.worker").isEnabledFor(logging.ERROR)

    with local_workers(1) as found:
        assert all(found.client.run(may_speak).values())
        quieten(found.client)
        assert not any(found.client.run(may_speak).values())
