"""What can be seen of a run while it goes on and afterwards, and by whom it can be touched."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess

import pytest
from runs import N_SHARDS, Bench, command, files_of


@pytest.fixture
def half_done(bench):
    """A run that has stopped for a while after its second shard."""
    process = bench.start()
    bench.wait_for_shard(process, 1)
    process.send_signal(signal.SIGSTOP)
    yield bench
    process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=60) == 0


def test_status_only_reads(half_done, tmp_path):
    """As from another node that may not write."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    if subprocess.run(["mount", "--bind", half_done.store, mirror], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", mirror], check=True)
        arguments = {"capture_output": True, "text": True, "check": True}
        told = subprocess.run(command("status", mirror), **arguments).stdout
        found = json.loads(subprocess.run(command("status", mirror, "--json"), **arguments).stdout)
    finally:
        subprocess.run(["umount", "--lazy", mirror], check=True)
    assert found["running"]
    assert not found["complete"]
    assert 4 <= found["n_done"] < 11
    assert found["eta_seconds"] > 0
    assert found["nodes"] == [socket.gethostname()]
    assert 0 <= found["seconds_since_last"] < 60
    assert f"computed on {socket.gethostname()}" in told
    assert "ETA" in told


@pytest.mark.slow
def test_the_run_log_says_what_ran_where_and_how_it_ended(bench):
    assert bench.generate("--part=0/2").returncode == 0
    (log,) = bench.store.glob("ledger/run-*.jsonl")
    start, *done, end = map(json.loads, log.read_text().splitlines())
    assert (start["event"], start["part"], start["hosts"]) == ("start", "0/2", 6)
    assert start["argv"][1:2] == ["generate"]
    assert [entry["event"] for entry in done] == ["done"] * 3
    assert [entry["task"] for entry in done] == [0, 2, 4]
    for entry in done:
        assert entry["node"] == socket.gethostname()
        assert entry["pid"] > 0
        assert entry["finished"] > entry["started"] > start["time"] - 1
        assert 50 < entry["peak_memory_mib"] < 2048
    assert (end["event"], end["state"]) == ("end", "complete")
    assert end["seconds"] > 0


@pytest.mark.slow
def test_the_run_log_has_failures_and_a_bad_end(bench):
    out = bench.generate(before_record=1)
    assert out.returncode == 2
    (log,) = bench.store.glob("ledger/run-*.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    failed = [event for event in events if event["event"] == "failed"]
    assert [event["task"] for event in failed] == [1, 1]
    assert "SIGKILL" in failed[0]["reason"]
    assert "SIGKILL" in events[-1]["state"]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["serial", "dask", "mpi"])
def test_nothing_is_writable_by_everyone_and_no_name_reaches_a_shell(oracle, tmp_path, engine):
    launcher: tuple[str, ...] = ()
    if engine == "mpi":
        mpiexec = shutil.which("mpiexec")
        if mpiexec is None:
            pytest.skip("no mpiexec: pip install 'defectpdf[mpi]'")
        launcher = (mpiexec, "-n", "2")
    bench = Bench(tmp_path / "a folder; touch pwned")
    bench.store = bench.folder / "$(touch pwned) `touch pwned` 'it's\".zarr"
    before = os.umask(0)
    try:
        process = bench.start(f"--engine={engine}", launcher=launcher)
    finally:
        os.umask(before)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert files_of(bench.store) == files_of(oracle)
    assert not list(tmp_path.rglob("pwned"))
    records = (bench.store / "ledger" / "records.jsonl").read_text()
    assert len(records.splitlines()) == N_SHARDS
    for path in [bench.store, *bench.store.rglob("*")]:
        assert not path.stat().st_mode & stat.S_IWOTH, path
