"""Shards cover all items, and tasks name theirs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectgen.hosts.library import embedded_library, open_library, write_library
from defectgen.sources.defects import Defects, LibrarySettings, evenly_spaced
from hpc.description import RunDescription
from hpc.plan import Task, plan_shards
from hpc.store.input_record import hash_inputs

HOSTS = embedded_library()


@given(n_items=st.integers(0, 200), hosts_per_shard=st.integers(1, 50))
def test_shards_cover_all_hosts_in_order(n_items, hosts_per_shard):
    shards = plan_shards(n_items, hosts_per_shard)
    assert [i for shard in shards for i in range(shard.start, shard.stop)] == list(range(n_items))
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert all(shard.n_items == hosts_per_shard for shard in shards[:-1])
    assert all(0 < shard.n_items <= hosts_per_shard for shard in shards)


def test_a_task_names_its_items_and_comes_back_from_json():
    task = Task(index=3, start=96, stop=128, first=HOSTS[96].id, last=HOSTS[127].id)
    assert Task.model_validate_json(task.model_dump_json()) == task
    assert len(task.model_dump_json()) < 150  # however many atoms its items have


def test_a_part_of_a_file_reads_its_own_hosts_only(tmp_path):
    path = tmp_path / "library.json"
    write_library(path, HOSTS[:10])
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace('"a":', '"b":')
    path.write_text("\n".join(lines))
    assert list(open_library(path)[5:10]) == HOSTS[5:10]
    with pytest.raises(ValueError, match=r"library\.json is not a library of hosts at 0\.a"):
        list(open_library(path)[0:5])


@pytest.mark.parametrize("count", [1, 7, 100, len(HOSTS)])
def test_a_limit_takes_the_same_hosts_from_a_file_as_from_memory(tmp_path, count):
    path = tmp_path / "library.json"
    write_library(path, HOSTS)
    expected = [HOSTS[i * len(HOSTS) // count] for i in range(count)]
    assert list(evenly_spaced(HOSTS, count)) == expected
    for source in ("embedded", str(path)):
        assert (
            list(Defects(library=LibrarySettings(source=source, limit=count)).items()) == expected
        )


def test_the_hash_of_the_inputs_is_that_of_every_store_made_so_far():
    """Recorded with the first version: another value would make all stores those of other runs."""
    description = RunDescription.model_validate(
        {"defects": {"impurities": ["Cr", "Ni", "Cu"]}, "library": {"limit": 60}}
    )
    hosts = description.source.items()
    recorded = "465271f9f223431a9065a6fb9cf2f6bb2cde567e4f0707bc608ec0009a38f32c"
    assert hash_inputs(description, hosts) == recorded


def test_a_library_without_hosts_is_refused(tmp_path):
    write_library(tmp_path / "none.json", [])
    with pytest.raises(ValueError, match=r"none\.json: no usable host"):
        Defects(library=LibrarySettings(source=str(tmp_path / "none.json"))).items()
