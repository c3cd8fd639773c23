from __future__ import annotations

import subprocess
import sys

import pytest
import zarr
from typer.testing import CliRunner

from train.cli import app
from train.data.store import Dataset
from train.problems.defects.examples import read_examples


def test_missing_and_damaged_stores_are_named(tmp_path, make_store):
    with pytest.raises(ValueError, match="nowhere is not a store"):
        read_examples(Dataset.open(tmp_path / "nowhere"))
    path = make_store(tmp_path / "no_label.zarr", hosts_per_group=1)
    group = zarr.open_group(path, mode="r+")
    del group["label"]
    with pytest.raises(ValueError, match="is not a store"):
        read_examples(Dataset.open(path))


def test_an_unfinished_store_is_refused(tmp_path):
    (tmp_path / "run.toml").write_text("[defects]\nsupercell = [2, 2, 2]\n[pdf]\nrmax = 12.0\n")
    command = ["generate", tmp_path / "run.toml", "--store", tmp_path / "s.zarr", "--limit", 2]
    assert CliRunner().invoke(app, [str(word) for word in command]).exit_code == 0
    store = read_examples(Dataset.open(tmp_path / "s.zarr"))
    assert len(store.rows) == 24
    (tmp_path / "s.zarr" / "ledger" / "records.jsonl").unlink()
    with pytest.raises(ValueError, match="not finished, 2 hosts are missing"):
        read_examples(Dataset.open(tmp_path / "s.zarr"))


def test_repeated_ids_are_refused(tmp_path, make_store):
    path = make_store(tmp_path / "twice.zarr", hosts_per_group=1, ids=["one"] * 16)
    with pytest.raises(ValueError, match="repeats structure ids"):
        read_examples(Dataset.open(path))


def test_importing_the_package_and_its_commands_is_light():
    heavy = "{'torch', 'zarr', 'sklearn', 'matplotlib', 'pymatgen'}"
    code = f"import sys, train, train.commands; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
