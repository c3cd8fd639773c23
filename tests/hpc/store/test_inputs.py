"""A store knows what it was made from without parsing its items again."""

from __future__ import annotations

import os
import shutil
import time

import pytest
from runs import TOML

from defectgen.hosts.library import embedded_library, write_library
from hpc.description import RunDescription, read_description
from hpc.executors import start_executor
from hpc.generate import generate
from hpc.observables.pdf import PairDistributionFunction
from hpc.store.input_record import hash_inputs
from hpc.store.inputs import has_its_items, refuse_another_run, refuse_other_formulas
from hpc.store.inspect import verify
from hpc.store.store import Store


@pytest.fixture
def copied(oracle, tmp_path):
    """A finished store, with the times of its files."""
    return shutil.copytree(oracle, tmp_path / "store.zarr", copy_function=shutil.copy2)


@pytest.fixture
def no_parsing(monkeypatch):
    """Fails a test in which an item is parsed to be hashed."""

    def refuse(*_):
        pytest.fail("the items were parsed")

    monkeypatch.setattr("hpc.store.inputs.hash_inputs", refuse)


@pytest.fixture
def small(tmp_path) -> RunDescription:
    (tmp_path / "run.toml").write_text(TOML)
    return read_description(tmp_path / "run.toml")


def test_an_unchanged_store_is_known_without_parsing(copied, small, no_parsing):
    assert has_its_items(Store(copied))
    refuse_another_run(Store(copied), small)


def test_a_store_that_was_copied_is_known_by_its_digest(copied, no_parsing):
    os.utime(copied / "library.json", ns=(1, 1))
    assert has_its_items(Store(copied))


@pytest.mark.parametrize("lost", ["inputs.json", "library.npy"])
def test_a_lost_record_costs_time_only(copied, small, lost):
    (copied / "ledger" / lost).unlink()
    store = Store(copied)
    assert has_its_items(store)
    refuse_another_run(store, small)
    assert [item.id for item in store.items] == [item.id for item in small.source.items()]


def test_items_are_found_by_the_index(copied):
    store = Store(copied)
    assert [store.items[row].id for row in (10, 0, 5)] == [
        list(store.items)[row].id for row in (10, 0, 5)
    ]


def test_changed_items_are_seen_whatever_their_time_says(copied):
    path = copied / "library.json"
    status, text = path.stat(), path.read_text()
    path.write_text(text.replace('"uiso":0.0', '"uiso":0.1', 1))
    assert not has_its_items(Store(copied))
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert has_its_items(Store(copied))


def test_a_source_that_has_changed_is_parsed_and_refused(tmp_path):
    hosts = embedded_library()[:4]
    write_library(tmp_path / "mine.json", hosts)
    (tmp_path / "run.toml").write_text(TOML.replace("limit = 11", 'source = "mine.json"'))
    description = read_description(tmp_path / "run.toml")
    with start_executor("serial", 1) as execute:
        generate(tmp_path / "store.zarr", description, execute)
    write_library(tmp_path / "mine.json", [*hosts])
    refuse_another_run(Store(tmp_path / "store.zarr"), description)
    write_library(tmp_path / "mine.json", hosts[::-1])
    with pytest.raises(ValueError, match="the hosts have changed"):
        refuse_another_run(Store(tmp_path / "store.zarr"), description)


def test_other_formulas_give_another_hash_and_never_continue_a_store(copied, small, monkeypatch):
    before = hash_inputs(small, [])
    monkeypatch.setattr(PairDistributionFunction, "revision", 2)
    assert hash_inputs(small, []) != before
    with pytest.raises(ValueError, match=r"made by revision 1 of pdf, .* has 2"):
        refuse_other_formulas(Store(copied))
    (problem,) = verify(copied)["problems"]
    assert "revision 1 of pdf" in problem
    with start_executor("serial", 1) as execute, pytest.raises(ValueError, match="revision 1"):
        generate(copied, None, execute)


@pytest.mark.slow
def test_parts_that_start_together_wait_for_the_creation_only(tmp_path, bench):
    """One makes the store; the others then see at one look that it is theirs."""
    processes = [bench.start(f"--part={k}/6") for k in range(6)]
    ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, ends
    assert verify(bench.store)["ok"]
    started = time.monotonic()
    with start_executor("serial", 1) as execute:
        assert generate(bench.store, None, execute).n_computed == 0
    assert time.monotonic() - started < 30
    assert (bench.store / "ledger" / "records.jsonl").exists()
