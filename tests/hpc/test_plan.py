"""Shards cover all hosts, and tasks carry theirs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectgen.hosts.library import embedded_library, open_library, write_library
from hpc.description import LibrarySettings, RunDescription
from hpc.plan import Shard, Task, evenly_spaced, plan_shards, select_hosts, task_of
from hpc.store.store import hash_inputs

HOSTS = embedded_library()


@given(n_hosts=st.integers(0, 200), hosts_per_shard=st.integers(1, 50))
def test_shards_cover_all_hosts_in_order(n_hosts, hosts_per_shard):
    shards = plan_shards(n_hosts, hosts_per_shard)
    assert [i for shard in shards for i in range(shard.start, shard.stop)] == list(range(n_hosts))
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert all(shard.n_hosts == hosts_per_shard for shard in shards[:-1])
    assert all(0 < shard.n_hosts <= hosts_per_shard for shard in shards)


def test_a_task_comes_back_from_json_to_the_last_bit():
    task = task_of(Shard(3, 96, 128), HOSTS)
    assert (task.index, task.start, task.stop) == (3, 96, 128)
    assert task.hosts == tuple(HOSTS[96:128])
    assert Task.model_validate_json(task.model_dump_json()) == task


def test_a_task_reads_its_own_hosts_only(tmp_path):
    path = tmp_path / "library.json"
    write_library(path, HOSTS[:10])
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace('"a":', '"b":')
    path.write_text("\n".join(lines))
    assert task_of(Shard(1, 5, 10), open_library(path)).hosts == tuple(HOSTS[5:10])
    with pytest.raises(ValueError, match=r"library\.json is not a library of hosts at 0\.a"):
        task_of(Shard(0, 0, 5), open_library(path))


@pytest.mark.parametrize("count", [1, 7, 100, len(HOSTS)])
def test_a_limit_takes_the_same_hosts_from_a_file_as_from_memory(tmp_path, count):
    path = tmp_path / "library.json"
    write_library(path, HOSTS)
    expected = [HOSTS[i * len(HOSTS) // count] for i in range(count)]
    assert list(evenly_spaced(HOSTS, count)) == expected
    for source in ("embedded", str(path)):
        assert list(select_hosts(LibrarySettings(source=source, limit=count))) == expected


def test_the_hash_of_the_inputs_is_that_of_every_store_made_so_far():
    """Recorded with the first version: another value would make all stores those of other runs."""
    description = RunDescription.model_validate(
        {"defects": {"impurities": ["Cr", "Ni", "Cu"]}, "library": {"limit": 60}}
    )
    hosts = select_hosts(description.library)
    recorded = "465271f9f223431a9065a6fb9cf2f6bb2cde567e4f0707bc608ec0009a38f32c"
    assert hash_inputs(description, hosts) == recorded


def test_a_library_without_hosts_is_refused(tmp_path):
    write_library(tmp_path / "none.json", [])
    with pytest.raises(ValueError, match=r"none\.json: no usable host"):
        select_hosts(LibrarySettings(source=str(tmp_path / "none.json")))
