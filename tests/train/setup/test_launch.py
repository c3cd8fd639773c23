"""Who launches what: no code from a store, no open ports, one line for each way to end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from runs import command, until

from train.setup.launch import LOST, Place, _verdict
from train.setup.rendezvous import interface_settings, open_port, reach_port, split_head

PROJECT = Path(__file__).parents[3]
# Longer than any test looks at it.
LONG = ["--epochs", "5000", "--snapshot-seconds", "0"]


@contextmanager
def started(*words: object, **environment: str) -> Iterator[subprocess.Popen]:
    """A program and all that it starts, as the only ones of a session."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    settings = {"PYTHONPATH": str(PROJECT), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [str(word) for word in words],
        env=os.environ | settings | {"PATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def job(store: Path, run: Path, *options: str) -> list[object]:
    """What `defectpdf` of an installed package would be, in the environment of jobs/train.sh."""
    return ["bash", PROJECT / "jobs/train.sh", store, "--out", run, *options]


def members(process: subprocess.Popen) -> list[psutil.Process]:
    head = psutil.Process(process.pid)
    return [head, *head.children(recursive=True)]


def listening(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    return {
        (connection.laddr.ip, connection.laddr.port)
        for process in processes
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }


ATTACK = """
import os, pickle, signal, sys
from base64 import b64encode
import torch.distributed as dist

class Payload:
    def __reduce__(self):
        return os.mkdir, (sys.argv[3],)

poison = pickle.dumps((Payload(), None))
signal.alarm(5)  # gloo has no answer to a store's client
store = dist.TCPStore(sys.argv[1], int(sys.argv[2]), is_master=False, wait_for_workers=False)
for key in store.list_keys():
    store.set(key, poison)
for name in ("", *sys.argv[4:]):
    for key in (f"torch.rendezvous.{name}", f"/torch.rendezvous.{name}"):
        store.set(key, b64encode(poison))  # as C10dRendezvousBackend has it
print("taken")
"""
"""Puts a pickle that makes a folder wherever a rendezvous would look."""


def attack(ports: set[tuple[str, int]], payload: Path, *names: str) -> int:
    """To how many of the ports, being those of a store, the pickles went."""
    attackers = [
        subprocess.Popen(
            [sys.executable, "-c", ATTACK, host, str(port), str(payload), *names],
            stdout=subprocess.PIPE,
            text=True,
        )
        for host, port in ports
    ]
    said = [attacker.communicate(timeout=100)[0] for attacker in attackers]
    assert {attacker.returncode for attacker in attackers} <= {0, -signal.SIGALRM}
    return said.count("taken\n")


def epochs(run: Path) -> int:
    return (run / "metrics.jsonl").read_text().count("\n")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_the_attack_is_one_on_torchruns_rendezvous(tmp_path):
    payload, name = tmp_path / "executed", "known"
    words = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend=c10d", "--nnodes=1:2"]
    words += [f"--rdzv-endpoint=localhost:{free_port()}", f"--rdzv-id={name}"]
    with started(*words, "--no-python", "sleep", "60") as process:
        until(lambda: listening(members(process)), process)
        ports = listening(members(process))
        assert {host for host, _ in ports} <= {"::", "0.0.0.0"}, "open to the network"
        assert attack({("localhost", port) for _, port in ports}, payload, name) == 1
        until(payload.exists, process)


@pytest.mark.slow
def test_on_one_machine_nothing_listens_beyond_loopback_or_executes_what_it_is_sent(
    store_path, tmp_path
):
    payload, run = tmp_path / "executed", tmp_path / "run"
    with started(*job(store_path, run, *LONG), PROCESSES="2") as process:
        until((run / "snapshot.pt").exists, process)
        ports = listening(members(process))
        assert ports, "gloo listens"
        assert {host for host, _ in ports} == {"127.0.0.1"}
        assert attack(ports, payload, run.name) == 0, "no port is a store"
        (folder,) = {
            Path(member.environ()["DEFECTPDF_STORE"]).parent for member in members(process)[-2:]
        }
        assert folder.stat().st_mode & 0o077 == 0, "the store is a file for the user alone"
        before = epochs(run)
        until(lambda: epochs(run) > before + 1, process)
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert not payload.exists()
    assert not folder.exists()


@contextmanager
def two_nodes(store: Path, run: Path, *options: str) -> Iterator[list[subprocess.Popen]]:
    """A process on each of two launchers, which meet as those of two machines do."""
    words = ["--processes=1", "--nodes=2", f"--head=127.0.0.1:{free_port()}"]
    training = [store, "--out", run, *options]
    with (
        started(*command("launch", *words, "--node=0", *training)) as first,
        started(*command("launch", *words, "--node=1", *training)) as second,
    ):
        yield [first, second]


@pytest.mark.slow
def test_nodes_meet_on_one_address_and_execute_nothing_that_they_are_sent(store_path, tmp_path):
    payload, run = tmp_path / "executed", tmp_path / "run"
    with two_nodes(store_path, run, *LONG) as (first, second):
        until((run / "snapshot.pt").exists, first)
        ports = listening([*members(first), *members(second)])
        assert {host for host, _ in ports} == {"127.0.0.1"}
        assert attack(ports, payload, run.name) == 1
        # All processes then meet anew, by a store of which no key is as it was.
        members(second)[-1].kill()
        before = epochs(run)
        until(lambda: epochs(run) > before + 1, first)
        os.killpg(first.pid, signal.SIGTERM)
        for node in (first, second):
            node.communicate(timeout=60)
            assert node.returncode == 143
    assert not payload.exists()


@pytest.mark.slow
def test_nodes_start_again_together_and_end_together(store_path, tmp_path):
    run = tmp_path / "run"
    with two_nodes(store_path, run, "--epochs", "8", "--snapshot-seconds", "0") as (first, second):
        until((run / "snapshot.pt").exists, first)
        members(second)[-1].kill()
        output, errors = first.communicate(timeout=120)
        assert first.returncode == 0, errors
        assert errors == ""
        assert output.count("test accuracy") == 1
        assert output.count(f"continuing {run}") == 1
        output, errors = second.communicate(timeout=60)
        assert (second.returncode, output) == (0, "")
        assert errors.startswith("defectpdf: process 1 was killed by SIGKILL; all start again (1 ")


@pytest.mark.slow
def test_a_mistake_ends_all_nodes_with_one_line(tmp_path):
    with two_nodes(tmp_path / "none.zarr", tmp_path / "run") as nodes:
        ends = [node.communicate(timeout=120)[1] for node in nodes]
        assert [node.returncode for node in nodes] == [2, 2]
    assert "none.zarr is not a store" in "".join(ends)
    assert "".join(ends).count("\n") == 1


@pytest.mark.slow
def test_a_mistake_of_all_processes_is_one_line(tmp_path):
    with started(*job(tmp_path / "none.zarr", tmp_path / "run"), PROCESSES="2") as process:
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (2, "")
    assert errors.count("\n") == 1
    assert "none.zarr is not a store" in errors


def has_begun_to_load(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any("libtorch" in found.path for found in process.memory_maps())
    return False


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_before_the_first_epoch_is_one_line(tmp_path, store_path, processes):
    with started(*job(store_path, tmp_path / "run", *LONG), PROCESSES=processes) as process:
        until(lambda: has_begun_to_load(members(process)[-1]), process)
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "")
    assert errors == "defectpdf: stopped; the same command continues\n"


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(tmp_path, store_path):
    """Here the first waits for a process that was halted in the midst."""
    run = tmp_path / "run"
    with started(*job(store_path, run, *LONG), PROCESSES="2") as process:
        until((run / "snapshot.pt").exists, process)
        halted = members(process)[-1]
        halted.suspend()
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(1.5)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode == 130
    assert not halted.is_running()


@pytest.mark.slow
def test_processes_die_with_their_launcher(tmp_path, store_path):
    run = tmp_path / "run"
    with started(*job(store_path, run, *LONG), PROCESSES="2") as process:
        until((run / "snapshot.pt").exists, process)
        workers = members(process)[1:]
        assert len(workers) == 2
        process.kill()
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive


def test_a_port_is_opened_on_one_address_only():
    port = free_port()
    store = open_port(f"127.0.0.1:{port}")
    found = listening([psutil.Process()])  # and what other tests left open
    assert {address for address, number in found if number == port} == {"127.0.0.1"}
    other = reach_port(f"127.0.0.1:{port}")
    other.set("key", "value")
    assert store.get("key") == b"value"
    with pytest.raises(OSError, match=f"127.0.0.1:{port}") as caught:
        open_port(f"127.0.0.1:{port}")
    assert caught.value.strerror == "Address already in use"


def test_a_name_that_leads_to_loopback_is_refused_for_several_nodes():
    with pytest.raises(ValueError, match=r"localhost is .* no other node comes: give an address"):
        open_port(f"localhost:{free_port()}")


@pytest.mark.parametrize("head", ["node1", "node1:", ":80", "node1:http", "node1:70000"])
def test_a_head_without_a_port_is_refused(head):
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        split_head(head)


def test_interfaces_are_those_that_lead_to_the_head():
    loopback = interface_settings(None)
    assert loopback == interface_settings("127.0.0.1:80")
    name = loopback["GLOO_SOCKET_IFNAME"]
    assert {found.address for found in psutil.net_if_addrs()[name]} >= {"127.0.0.1"}
    assert loopback["NCCL_SOCKET_IFNAME"] == f"={name}", "NCCL takes a bare name for a prefix"


def test_places_that_cannot_be_are_refused():
    assert list(Place(3, node=1, nodes=2, head="a:1").ranks) == [3, 4, 5]
    with pytest.raises(ValueError, match="--node 2 is not one of 0 to 1"):
        Place(1, node=2, nodes=2, head="a:1")
    with pytest.raises(ValueError, match="--nodes 2 needs --head HOST:PORT"):
        Place(1, nodes=2)


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [
        ([0, 0], 0),
        ([LOST, -9], 1),
        ([1, 143], 1),
        ([LOST, 2], 2),
        ([1, 2], 2),
        ([143, LOST], 143),
        ([-2, 130], 130),
        ([LOST, LOST], LOST),
        ([0, LOST], LOST),
    ],
)
def test_the_cause_decides_and_not_what_follows_from_it(codes, verdict):
    assert _verdict(dict(enumerate(codes))) == verdict
