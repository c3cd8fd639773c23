"""Damage done to a finished store is found by verify and put right by generate --repair."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from runs import Bench, files_of

from hpc.store.inspect import status, verify
from hpc.store.ledger import withdraw_record


@pytest.fixture
def finished(oracle, bench) -> Bench:
    """A finished store to damage, the same as `oracle`."""
    shutil.copytree(oracle, bench.store)
    return bench


def shards_of(store: Path) -> list[Path]:
    return [file for file in sorted((store / "g" / "c").rglob("*")) if file.is_file()]


def damage_file(path: Path, how: str, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    elif how == "truncate":
        path.write_bytes(content[: rng.randrange(len(content))])
    else:
        path.unlink()


@pytest.mark.parametrize(
    "how", ["flip", *(pytest.param(how, marks=pytest.mark.slow) for how in ("truncate", "remove"))]
)
def test_a_damaged_shard_is_found_and_made_anew_alone(oracle, finished, how):
    damage_file(shards_of(finished.store)[2], how, random.Random(how))
    found = verify(finished.store)
    assert not found["ok"]
    assert "hosts 4 to 5" in found["problems"][0]
    assert "generate --repair" in found["problems"][0]
    out = finished.generate("--repair")
    assert "; 10 PDFs computed" in out.stdout
    assert files_of(finished.store) == files_of(oracle)
    assert verify(finished.store)["ok"]
    assert dict(finished.computed()) == {2: 1}


@pytest.mark.slow
def test_a_repair_that_dies_leaves_no_record_of_what_it_was_about_to_write(oracle, finished):
    damage_file(shards_of(finished.store)[2], "flip", random.Random(0))
    out = finished.generate("--repair", before_record=2)
    assert out.returncode == 2
    assert status(finished.store)["n_done"] == 9
    assert "; 10 PDFs computed" in finished.generate().stdout
    assert files_of(finished.store) == files_of(oracle)
    assert verify(finished.store)["ok"]


def test_any_file_of_a_store_can_be_put_right(oracle, finished):
    """All of them damaged at once; the records alone still say what was done."""
    rng = random.Random(0)
    for name in files_of(oracle):
        damage_file(finished.store / name, rng.choice(["flip", "truncate", "remove"]), rng)
    out = finished.generate("--repair")
    assert out.returncode == 0, out.stderr
    assert files_of(finished.store) == files_of(oracle)
    assert verify(finished.store)["ok"]


@pytest.mark.slow
def test_damaged_records_are_made_anew(oracle, finished):
    rng = random.Random(0)
    for how in ("flip", "truncate", "remove"):
        damage_file(finished.store / "ledger" / "records.jsonl", how, rng)
        assert finished.generate("--repair").returncode == 0
        assert files_of(finished.store) == files_of(oracle)
        assert verify(finished.store)["ok"]


@pytest.mark.slow
def test_without_a_description_a_store_is_repaired_as_it_is(oracle, finished):
    damage_file(finished.store / "library.json", "truncate", random.Random(1))
    damage_file(shards_of(finished.store)[5], "flip", random.Random(1))
    finished.run_toml = None
    assert finished.generate("--repair").returncode == 0
    assert files_of(finished.store) == files_of(oracle)


@pytest.mark.slow
def test_what_is_sound_is_left_alone(oracle, finished):
    times = {file: file.stat().st_mtime_ns for file in finished.store.rglob("c/*/*")}
    assert "; 0 PDFs computed" in finished.generate("--repair").stdout
    assert {file: file.stat().st_mtime_ns for file in finished.store.rglob("c/*/*")} == times


def test_a_store_of_something_else_is_not_repaired_into_this_run(oracle, finished):
    (finished.store / "zarr.json").unlink()
    finished.run_toml.write_text("seed = 5\n" + finished.run_toml.read_text())
    before = files_of(finished.store)
    out = finished.generate("--repair")
    assert out.returncode == 2
    assert "zarr.json is damaged and no shard is of this run" in out.stderr.splitlines()[-1]
    assert files_of(finished.store) == before


@pytest.mark.slow
def test_half_written_files_are_swept(oracle, finished):
    for place in ("g/c/1/0/0.123.partial", "zarr.123.partial", "ledger/000001.7.partial"):
        (finished.store / place).write_bytes(b"half")
    assert finished.generate("--repair").returncode == 0
    assert files_of(finished.store) == files_of(oracle)
    assert not list(finished.store.rglob("*.partial"))


@pytest.mark.slow
def test_a_damaged_library_is_not_computed_from(oracle, finished):
    """A host with another cell would be another host."""
    library = finished.store / "library.json"
    library.write_text(library.read_text().replace('"a":', '"a":1', 1))
    withdraw_record(finished.store / "ledger", 0)
    out = finished.generate()
    assert out.returncode == 2
    assert "library.json is damaged: `generate --repair`" in out.stderr
    assert finished.generate("--repair").returncode == 0
    assert files_of(finished.store) == files_of(oracle)
