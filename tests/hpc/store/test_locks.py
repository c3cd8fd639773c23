"""One run, or several parts of one, write to a store; never two of the same."""

from __future__ import annotations

import signal

import pytest
from runs import N_SHARDS, files_of

from hpc.store.inspect import status, verify
from hpc.store.locks import Part, writing


@pytest.mark.slow
def test_a_second_run_is_refused_and_harms_nothing(oracle, bench):
    first = bench.start()
    bench.wait_for_shard(first, 0)
    first.send_signal(signal.SIGSTOP)  # however long it takes
    try:
        assert status(bench.store)["running"]
        for options in ([], ["--part=0/2"], ["--repair"]):
            second = bench.generate(*options)
            assert second.returncode == 2
            assert second.stderr.splitlines() == [
                f"defectpdf: error: {bench.store}: another `defectpdf generate` is writing to it"
            ]
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=60) == 0
    assert not status(bench.store)["running"]
    assert files_of(bench.store) == files_of(oracle)


@pytest.mark.slow
def test_parts_make_a_store_together(oracle, bench):
    """Started at the same moment, so that all want to make it."""
    parts = [bench.start(f"--part={k}/3") for k in range(3)]
    for part in parts:
        _, err = part.communicate(timeout=60)
        assert part.returncode == 0, err
    assert files_of(bench.store) == files_of(oracle)
    assert verify(bench.store)["ok"]
    assert dict(bench.computed()) == dict.fromkeys(range(N_SHARDS), 1)
    assert len(list(bench.store.glob("ledger/run-*.jsonl"))) == 3


@pytest.mark.slow
def test_a_part_keeps_the_whole_and_its_double_out(bench):
    part = bench.start("--part=0/2")
    bench.wait_for_shard(part, 0)
    part.send_signal(signal.SIGSTOP)
    try:
        assert status(bench.store)["running"]
        assert "is writing to it" in bench.generate().stderr
        assert "is writing to it" in bench.generate("--part=0/2").stderr
        assert bench.generate("--part=1/2").returncode == 0
    finally:
        part.send_signal(signal.SIGCONT)
    assert part.wait(timeout=60) == 0
    assert verify(bench.store)["ok"]


def test_parts_of_different_numbers_keep_each_other_out(tmp_path):
    with writing(tmp_path, Part(0, 2)):
        with writing(tmp_path, Part(1, 2)):
            pass
        with (
            pytest.raises(ValueError, match="one of 2 parts is being written; --part K/3 can"),
            writing(tmp_path, Part(1, 3)),
        ):
            pass
    with writing(tmp_path, Part(1, 3)):
        pass


@pytest.mark.parametrize("text", ["1", "2/2", "0/0", "-1/2", "a/b", "1/2/3", ""])
def test_parts_that_make_no_sense_are_refused(text):
    with pytest.raises(ValueError, match="write K/N"):
        Part.parse(text)
