"""What a dry run says is what the run then does, and it writes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from defectgen.hosts.library import embedded_library, write_library
from hpc.description import RunDescription
from hpc.estimate.estimate import as_text, estimate, wall_time
from hpc.estimate.measure import Measured
from hpc.executors import start_executor
from hpc.generate import generate
from hpc.plan import plan_shards
from hpc.store.creation import create
from hpc.store.ledger import read_records
from hpc.store.locks import Part
from hpc.store.store import Store

SMALL = {
    "hosts_per_shard": 4,
    "library": {"limit": 30},
    "defects": {"supercell": [2, 2, 2], "variants_per_kind": 1},
    "pdf": {"rmax": 12.0, "points": 100},
}


def described(**changes) -> RunDescription:
    return RunDescription.model_validate(SMALL | changes)


def run_serial(path: Path, description: RunDescription) -> None:
    with start_executor("serial", 1) as execute:
        assert execute is not None
        generate(path, description, execute)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from train.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "description",
    [
        described(),
        # Whole shards, a prime number of hosts in each, and an array that is never written.
        pytest.param(
            described(hosts_per_shard=5, defects=SMALL["defects"] | {"kinds": ["vacancy"]}),
            marks=pytest.mark.slow,
        ),
        # A shard larger than the library.
        pytest.param(described(hosts_per_shard=100), marks=pytest.mark.slow),
    ],
)
def test_files_and_disk_are_those_of_the_run(tmp_path, description):
    path = tmp_path / "store.zarr"
    found = estimate(path, description, 1)
    assert not path.exists()
    run_serial(path, description)
    entries = [path, *path.rglob("*")]
    files = [entry for entry in entries if entry.is_file()]
    assert found.n_files == len(files)
    assert found.n_folders == len(entries) - len(files)
    assert found.disk_bytes == pytest.approx(sum(f.stat().st_size for f in files), rel=0.2)
    store = Store(path)
    assert found.values_bytes == sum(store.array(name).nbytes for name in store.fields.dense)
    assert (found.exists, found.n_structures, found.n_missing) == (False, 30, 30)
    assert found.n_shards == found.n_shards_missing == len(store.shards)
    assert found.n_pdfs_missing == 30 * description.defects.n_variants
    assert found.disk_bytes_missing == found.disk_bytes
    assert found.failures == {}
    records = read_records(store.ledger, store.input_hash).values()
    peak = max(record.peak_memory_mib for record in records)
    assert found.memory_mib_per_worker == pytest.approx(peak, rel=0.2)
    assert found.seconds > found.n_missing * found.seconds_per_host > 0


@pytest.mark.slow
def test_the_memory_of_large_shards_is_scaled_up(tmp_path):
    small, large = (
        estimate(tmp_path / "s.zarr", described(hosts_per_shard=n, library={}), 1)
        for n in (256, 1024)
    )
    # 1024 hosts of 5 variants of 100 points in float32, held at least twice.
    added = 2 * (1024 - 256) * 5 * 100 * 4 / 2**20
    assert large.memory_mib_per_worker > small.memory_mib_per_worker + added - 20
    assert large.n_sample == 32


@pytest.mark.slow
def test_what_is_done_is_not_counted_again(tmp_path):
    path, description = tmp_path / "store.zarr", described()

    def first_three(work, tasks):
        yield from map(work, islice(tasks, 3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(path, description, first_three)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    for given in (description, None):
        found = estimate(path, given, 2)
        assert (found.exists, found.n_structures, found.n_missing) == (True, 30, 18)
        assert (found.n_shards, found.n_shards_missing) == (8, 5)
        assert 0 < found.disk_bytes_missing < found.disk_bytes
    assert "exists, 12 hosts are done" in as_text(found)
    parts = [estimate(path, description, 1, Part(k, 3)) for k in range(3)]
    assert [part.n_shards_missing for part in parts] == [2, 2, 1]
    assert all("exists, 12 hosts are done" in as_text(part) for part in parts)
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before
    with pytest.raises(ValueError, match="seed: the store has 0, this run has 7"):
        estimate(path, described(seed=7), 1)
    run_serial(path, description)
    complete = estimate(path, description, 1)
    assert (complete.n_missing, complete.seconds, complete.disk_bytes_missing) == (0, 0, 0)


@pytest.mark.parametrize(("workers", "seconds"), [(1, 70), (3, 34), (8, 18), (100, 18)])
def test_a_run_takes_as_long_as_the_worker_with_most_to_do(workers, seconds):
    measured = Measured(
        n_hosts=4,
        n_shard=4,
        startup_seconds=10,
        seconds_per_host=2,
        fixed_bytes=0,
        host_bytes=0,
        row_bytes=0,
        empty_arrays=frozenset(),
        ragged=(0, 0),
        memory_mib=0,
        shard_memory_mib=0,
        failures={},
    )
    assert wall_time(plan_shards(30, 4), workers, measured) == seconds


@pytest.mark.slow
def test_hosts_that_fail_are_named_and_stop_nothing(tmp_path):
    hosts = embedded_library()[:3]
    twice = {"id": "crowded", "frac": hosts[1].frac[:1] * 2, "wyckoff": hosts[1].wyckoff[:1] * 2}
    crowded = hosts[1].model_copy(update=twice)
    source = tmp_path / "library.json"
    write_library(source, [hosts[0], crowded, hosts[2]])
    found = estimate(tmp_path / "store.zarr", described(library={"source": str(source)}), 1)
    assert list(found.failures) == ["crowded"]
    assert found.n_sample == 3
    assert "1 can't be computed" in as_text(found)
    assert "crowded: " in as_text(found)
    write_library(source, [crowded])
    with pytest.raises(ValueError, match="no host of the trial can be computed: crowded"):
        estimate(tmp_path / "store.zarr", described(library={"source": str(source)}), 1)


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="exists and is not a store"):
        estimate(tmp_path, described(), 1)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_the_command_prints_one_screen_or_json(tmp_path):
    store = tmp_path / "store.zarr"
    arguments = ["generate", "--store", store, "--limit", 20, "--workers", 2, "--dry-run"]
    text = command(*arguments)
    assert (text.returncode, text.stderr) == (0, "")
    assert "20 of 20 to compute, in 1 of 1 shards" in text.stdout
    assert max(map(len, text.stdout.splitlines())) < 120
    found = json.loads(command(*arguments, "--json").stdout)
    assert (found["n_missing"], found["n_pdfs_missing"], found["workers"]) == (20, 260, 2)
    assert not store.exists()
    for mistake in (["--dry-run", "--repair"], ["--json"]):
        wrong = command("generate", "--store", store, *mistake)
        assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)


MEASURED = """
import re, sys
from pathlib import Path
{call}
status = Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s*(\\d+)", status)[1]) / 1024, file=sys.stderr)
"""
DRY_RUN = """
from train.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
"""
CREATION = """
from hpc.description import read_description
from hpc.plan import plan_shards
from hpc.estimate.measure import Measured
from hpc.store.creation import create
description = read_description(Path(sys.argv[1]))
Path(sys.argv[2], "ledger").mkdir(parents=True)
create(Path(sys.argv[2]), description, description.source.items())
"""


def peak_mib_and_output(call: str, *arguments: object) -> tuple[float, str]:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.format(call=call), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=500,
    )
    return float(done.stderr.splitlines()[-1]), done.stdout


@pytest.mark.slow
def test_a_million_hosts_are_planned_in_little_memory(tmp_path):
    million = 1_000_000
    embedded = embedded_library()

    def strained():
        for i in range(million):
            host, strain = embedded[i % len(embedded)], 1 + 1e-5 * (i // len(embedded))
            cell = {"id": f"{host.id}-{i}", "a": host.a * strain, "c": host.c * strain}
            yield host.model_copy(update=cell)

    write_library(tmp_path / "library.json", strained())
    run, store = tmp_path / "run.toml", tmp_path / "store.zarr"
    run.write_text('[library]\nsource = "library.json"\n')
    peak, text = peak_mib_and_output(
        DRY_RUN, "generate", run, "--store", store, "--dry-run", "--json", "--workers=500"
    )
    found = json.loads(text)
    assert (found["n_structures"], found["n_shards"]) == (million, 31250)
    assert peak < 500
    assert found["disk_bytes"] < found["values_bytes"] + 1000 * million
    assert not store.exists()
    peak, _ = peak_mib_and_output(CREATION, run, store)
    assert peak < 1000
    assert Store(store).n_items == million


@pytest.mark.slow
def test_the_store_that_was_killed_while_it_was_made_is_made_again(tmp_path):
    path, description = tmp_path / "store.zarr", described()
    (path / "ledger").mkdir(parents=True)
    (path / "ledger" / "lock").touch()
    create(path, description, description.source.items())
    (path / "ledger" / "unfinished").touch()
    assert not estimate(path, described(seed=7), 1).exists
