"""A mistake in the command of a study is one line."""

from __future__ import annotations

import pytest

from benchmarks.studies import identifiability, results


@pytest.mark.parametrize("study", [identifiability, results])
def test_a_missing_store_is_one_line(study, tmp_path, monkeypatch, capsys):
    arguments = ["--store", tmp_path / "none.zarr", "--runs", tmp_path, "--out", tmp_path]
    monkeypatch.setattr("sys.argv", [study.__name__, *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        study.main()
    told = capsys.readouterr().err
    assert (end.value.code, len(told.splitlines())) == (2, 1)
    assert "none.zarr is not a store" in told
