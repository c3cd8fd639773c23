"""Records of tasks, each in a file of its own until all are joined."""

from __future__ import annotations

from hpc.store.ledger import (
    DoneRecord,
    join_records,
    read_record,
    read_records,
    withdraw_record,
    write_record,
)


def record(task: int, input_hash: str = "a") -> DoneRecord:
    return DoneRecord(
        task=task,
        input_hash=input_hash,
        digest=f"digest {task}",
        started=0.0,
        finished=1.0,
        node="here",
        peak_memory_mib=1.0,
    )


def test_joined_records_are_one_file_and_read_as_before(tmp_path):
    for task in (0, 7, 123):
        write_record(tmp_path, record(task))
    before = read_records(tmp_path, "a")
    join_records(tmp_path, "a")
    assert [path.name for path in tmp_path.iterdir()] == ["records.jsonl"]
    assert read_records(tmp_path, "a") == before
    assert read_record(tmp_path, 7, "a") == record(7)
    assert read_record(tmp_path, 8, "a") is None
    assert read_records(tmp_path, "b") == {}


def test_a_withdrawn_record_counts_no_more_until_it_is_written_anew(tmp_path):
    for task in range(3):
        write_record(tmp_path, record(task))
    withdraw_record(tmp_path, 2)
    assert sorted(read_records(tmp_path, "a")) == [0, 1]
    write_record(tmp_path, record(2))
    join_records(tmp_path, "a")
    withdraw_record(tmp_path, 1)
    assert sorted(read_records(tmp_path, "a")) == [0, 2]
    assert read_record(tmp_path, 1, "a") is None
    changed = record(1).model_copy(update={"digest": "other"})
    write_record(tmp_path, changed)
    assert read_record(tmp_path, 1, "a") == changed
    join_records(tmp_path, "a")
    assert read_records(tmp_path, "a") == {0: record(0), 1: changed, 2: record(2)}
    assert len(list(tmp_path.iterdir())) == 1


def test_half_a_record_is_none(tmp_path):
    (tmp_path / "000004.json").write_text('{"task": 4, "inp')
    (tmp_path / "records.jsonl").write_text('{"task":5,"input\n')
    assert read_records(tmp_path, "a") == {}
    assert read_record(tmp_path, 4, "a") is None
    assert read_record(tmp_path, 5, "a") is None
