"""Dask workers in a real Slurm: as jobs, which are replaced when they end, and as a job's tasks."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time

import psutil
import pytest
from runs import command, files_of, until

from hpc.store.store import Store

pytestmark = pytest.mark.slurm


@pytest.fixture(autouse=True)
def _in_slurm(slurm, _slurm_configuration, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", _slurm_configuration)


def jobs() -> list[str]:
    listing = subprocess.run(
        ["squeue", "--noheader", "--format=%i"], capture_output=True, text=True, check=True
    )
    return listing.stdout.split()


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    """Where a process, those under it and all Dask workers listen, but for loopback."""
    workers = [
        p for p in psutil.process_iter(["cmdline"]) if "distributed.cli.dask_worker" in str(p.info)
    ]
    family = {process, *process.children(recursive=True), *workers}
    family |= {child for worker in workers for child in worker.children(recursive=True)}
    return {
        (c.laddr.ip, c.laddr.port)
        for p in family
        for c in p.net_connections()
        if c.status == psutil.CONN_LISTEN and c.laddr.ip != "127.0.0.1"
    }


def is_open(address: tuple[str, int]) -> bool:
    """Whether someone without a certificate is let in, or is spoken to in plain words."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(address, timeout=10) as plain:
        try:
            with context.wrap_socket(plain) as tls:
                tls.recv(1)
        except ssl.SSLError as error:
            return "CERTIFICATE_REQUIRED" not in str(error)
    return True


def test_jobs_are_replaced_and_private(oracle, bench, monkeypatch):
    monkeypatch.chdir(bench.folder)
    host = Store(oracle).items[4].id
    hosts = {host: {"fault": "hang", "times": 1}}
    run = bench.start("--cluster=slurm", "--workers=2", hosts=hosts)
    until(lambda: (bench.folder / host).exists(), run)
    script = subprocess.run(
        ["scontrol", "write", "batch_script", jobs()[0], "-"], capture_output=True, text=True
    ).stdout
    assert "--lifetime=1620s --lifetime-stagger=90s" in script
    assert "export OMP_NUM_THREADS=1" in script
    assert "--mem=" not in script
    (secrets,) = bench.folder.glob(".defectpdf-tls-*")
    assert secrets.stat().st_mode & 0o777 == 0o700
    beyond = listening(psutil.Process(run.pid))
    assert len(beyond) >= 3
    assert [address for address in beyond if is_open(address)] == []
    before = set(jobs())
    subprocess.run(["scancel", *before], check=True)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert "tried again" not in err
    assert files_of(bench.store) == files_of(oracle)
    until_no(jobs)
    assert not secrets.exists()


def until_no(found, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while left := found():
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_the_tasks_of_a_job_are_workers(oracle, bench):
    generate = command("generate", bench.run_toml, "--store", bench.store, "--cluster=srun")
    log = bench.folder / "job.log"
    # One host holds the run up until all workers have come, however slow the machine is.
    hang = {Store(oracle).items[4].id: {"fault": "hang", "times": 1}}
    subprocess.run(
        ["salloc", "--ntasks=3", "--quiet", *generate, "--timeout=20"],
        env=bench.environment(hosts=hang),
        stderr=log.open("w"),
        check=True,
        timeout=120,
    )
    assert "Dask workers: 3" in log.read_text()
    assert files_of(bench.store) == files_of(oracle)
    assert list(bench.folder.glob(".defectpdf-tls-*")) == []
    until_no(jobs)


def test_jobs_that_slurm_does_not_take_are_a_mistake(bench):
    out = subprocess.run(
        command("generate", bench.run_toml, "--store", bench.store, "--cluster=slurm"),
        env=os.environ | {"DASK_JOBQUEUE__SLURM__QUEUE": "nosuch"},
        capture_output=True,
        text=True,
    )
    assert out.returncode == 2
    assert "invalid partition specified: nosuch" in out.stderr
    assert "Traceback" not in out.stderr
