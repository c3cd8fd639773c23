"""Nothing is lost: faults of hosts, processes and disks, put into real runs."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from runs import N_SHARDS, POWDER_TOML, TOML, TOY_TOML, Bench, files_of

from hpc.store.inspect import status, verify
from hpc.store.store import Store

# Many times what a host takes, also the first one on a busy machine.
TIMEOUT = "--timeout=6"


def host_of(store: Path, row: int) -> str:
    return Store(store).items[row].id


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["raise", "memory", "die", "hang", "disk"])
def test_a_fault_that_passes_leaves_no_trace(oracle, bench, fault):
    host = host_of(oracle, 4)
    timeout = [TIMEOUT] if fault == "hang" else []
    out = bench.generate(*timeout, hosts={host: {"fault": fault, "times": 2}})
    assert out.returncode == 0, out.stderr
    assert files_of(bench.store) == files_of(oracle)
    records = (bench.store / "ledger" / "records.jsonl").read_text().splitlines()
    record = json.loads(records[2])
    assert len(record["failures"]) == 2
    assert {failure["host"] for failure in record["failures"]} == {
        None if fault == "disk" else host
    }
    assert "0 hosts quarantined" in out.stdout


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raise", "fault of the program: RuntimeError: struck, in _strike "),
        ("memory", "MemoryError: struck (3 times)"),
        ("die", "the computing process was killed by SIGSEGV (3 times)"),
        ("hang", "not done within 6 s (3 times)"),
    ],
)
@pytest.mark.slow
def test_a_host_that_keeps_failing_is_quarantined_alone_and_can_be_repaired(
    oracle, bench, fault, reason
):
    host = host_of(oracle, 4)
    timeout = [TIMEOUT] if fault == "hang" else []
    out = bench.generate(*timeout, hosts={host: {"fault": fault, "times": 1000}})
    assert out.returncode == 0
    assert f"quarantined {host}: {reason}" in out.stderr
    found = verify(bench.store)
    assert (found["ok"], found["n_quarantined"], found["n_pdfs"]) == (True, 1, 10 * 5)
    assert "0 PDFs computed" in bench.generate().stdout  # a quarantined host stays so
    assert "10 PDFs computed" in bench.generate("--repair").stdout
    assert files_of(bench.store) == files_of(oracle)


@pytest.mark.slow
def test_a_disk_that_fails_once_in_a_while_stops_nothing(oracle, bench):
    """Too often for one task, which is put off until the others are done."""
    out = bench.generate(hosts={host_of(oracle, 4): {"fault": "disk", "times": 4}})
    assert out.returncode == 0
    assert "shard 2 is put off: Input/output error" in out.stderr
    assert files_of(bench.store) == files_of(oracle)


@pytest.mark.slow
def test_a_disk_that_keeps_failing_ends_the_run_in_one_line(oracle, bench):
    out = bench.generate(hosts={host_of(oracle, 4): {"fault": "disk", "times": 1000}})
    assert out.returncode == 2
    last = out.stderr.splitlines()[-1]
    assert last.startswith(f"defectpdf: error: {bench.store}: Input/output error; run generate")
    assert "Traceback" not in out.stderr
    assert status(bench.store)["n_done"] == 9
    assert bench.generate().returncode == 0
    assert files_of(bench.store) == files_of(oracle)
    assert all(bench.computed()[shard] == 1 for shard in range(N_SHARDS) if shard != 2)


@pytest.fixture
def small_disk(oracle, tmp_path):
    """A disk with room for half of the shards."""

    def pages(files: list[Path]) -> int:
        return sum(-(-file.stat().st_size // 4096) for file in files if file.is_file())

    shards = [f for name in Store(oracle).fields.dense for f in (oracle / name).rglob("c/*/*")]
    size = 4 * (pages(list(oracle.rglob("*"))) - pages(shards) // 2)
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_in_one_line_and_more_room_completes_it(
    oracle, tmp_path, small_disk
):
    bench = Bench(tmp_path)
    bench.store = small_disk / "store.zarr"
    out = bench.generate()
    assert out.returncode == 2
    assert "No space left on device; run generate again" in out.stderr.splitlines()[-1]
    assert "Traceback" not in out.stderr
    assert 0 < status(bench.store)["n_done"] < 11
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    assert bench.generate().returncode == 0
    assert files_of(bench.store) == files_of(oracle)
    bench.computed()


@pytest.mark.slow
def test_a_node_that_dies_between_data_and_record_loses_one_shard_only(oracle, bench):
    out = bench.generate(before_record=3)
    assert out.returncode == 2
    assert "killed by SIGKILL" in out.stderr
    assert status(bench.store)["n_done"] == 9
    assert bench.generate().returncode == 0
    assert files_of(bench.store) == files_of(oracle)
    assert [bench.computed()[shard] for shard in (0, 1, 2, 4, 5)] == [1] * 5


@pytest.mark.slow
def test_sigterm_ends_a_run_with_a_line_and_143(oracle, bench):
    process = bench.start(hosts={host_of(oracle, 6): {"fault": "hang", "times": 1}})
    bench.wait_for_shard(process, 2)
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert "run generate again to go on" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not status(bench.store)["running"]
    assert bench.generate().returncode == 0
    assert files_of(bench.store) == files_of(oracle)


@pytest.mark.slow
def test_the_computing_process_ends_with_its_parent(bench):
    """It would otherwise go on writing to a store that another run has taken over."""
    process = bench.start()
    bench.wait_for_shard(process, 0)
    process.kill()
    process.wait()
    bench.wait_until_all_have_ended(process.pid)


ENGINES = {
    "serial": ((), ["--engine=serial"]),
    "dask": ((), ["--engine=dask", "--workers=2"]),
    "mpi": ((str(Path(sys.executable).with_name("mpiexec")), "-n", "3"), ["--engine=mpi"]),
}
KILLS = 6
DESCRIPTIONS = {"PDFs": TOML, "powder": POWDER_TOML, "ragged": TOY_TOML}


@pytest.fixture(scope="module")
def n_events(tmp_path_factory) -> dict[str, int]:
    """How many places a run of each description has where it may be killed."""
    counts = {}
    for name, toml in DESCRIPTIONS.items():
        bench = Bench(tmp_path_factory.mktemp("events"), toml)
        assert bench.generate(kill={"event": 10**9, "whom": "self"}).returncode == 0
        counts[name] = (bench.folder / "events").stat().st_size
    return counts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "name", "seed"),
    [
        (engine, name, seed)
        for engine, name, n in (
            *(("serial", "PDFs", 6), ("serial", "powder", 3), ("serial", "ragged", 5)),
            *(("dask", "PDFs", 2), ("dask", "powder", 1), ("dask", "ragged", 3)),
            *(("mpi", "PDFs", 2), ("mpi", "powder", 1), ("mpi", "ragged", 3)),
        )
        for seed in range(n)
    ],
)
def test_killed_at_random_points_a_run_resumes_to_the_same_bytes(
    n_events, tmp_path, engine, name, seed
):
    """Some kills each: of any process of the run, or of all at once, wherever it is."""
    launcher, options = ENGINES[engine]
    if launcher and not Path(launcher[0]).exists():
        pytest.skip("no mpiexec beside this Python: pip install 'defectpdf[mpi]'")
    undisturbed = Bench(tmp_path / "undisturbed", DESCRIPTIONS[name])
    assert undisturbed.generate().returncode == 0
    rng = random.Random(f"{engine} {name} {seed}")
    kills, stores = 0, 0
    while kills < KILLS:
        stores += 1
        bench = Bench(tmp_path / str(stores), DESCRIPTIONS[name])
        finished = False
        while not finished:
            event = rng.randint(1, n_events[name] // 2) if kills < KILLS else 10**9
            (bench.folder / "events").unlink(missing_ok=True)
            kill = {"event": event, "whom": rng.choice(["self", "worker", "group"])}
            process = bench.start(*options, launcher=launcher, kill=kill)
            _, err = process.communicate(timeout=120)
            bench.wait_until_all_have_ended(process.pid)
            struck = (bench.folder / "events").stat().st_size >= event
            kills += struck
            finished = process.returncode == 0
            assert finished or struck, err
            assert "Traceback" not in err or struck
        assert files_of(bench.store) == files_of(undisturbed.store)
        bench.computed()
