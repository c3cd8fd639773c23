from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import zarr
from typer.testing import CliRunner

from train.cli import app
from train.data.store import read_store, stretch_pairs
from train.problems.defects.inputs import scale_pairs


def test_shared_scaling_keeps_the_relative_amplitude():
    pristine = torch.tensor([[0.0, 2.0, 4.0]])
    defective = torch.tensor([[1.0, 2.0, 3.0]])
    shared = scale_pairs(pristine, defective, "shared")
    torch.testing.assert_close(shared, torch.tensor([[[0.0, 0.5, 1.0], [0.25, 0.5, 0.75]]]))
    trace = scale_pairs(pristine, defective, "trace")
    torch.testing.assert_close(trace, torch.tensor([[[0.0, 0.5, 1.0], [0.0, 0.5, 1.0]]]))


def test_stretch_moves_a_peak_to_a_longer_distance():
    r = torch.linspace(1.5, 30, 300)
    start = 1.5 / float(r[1] - r[0])
    pair = torch.exp(-((r - 10) ** 2) / 0.5).repeat(1, 2, 1)
    stretched = stretch_pairs(pair, torch.tensor([1.04]), start)
    expected = torch.exp(-((r / 1.04 - 10) ** 2) / 0.5).repeat(1, 2, 1)
    torch.testing.assert_close(stretched, expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(stretch_pairs(pair, torch.ones(1), start), pair, atol=1e-4, rtol=0)


def test_missing_and_damaged_stores_are_named(tmp_path, make_store):
    with pytest.raises(ValueError, match="nowhere is not a store"):
        read_store(tmp_path / "nowhere")
    path = make_store(tmp_path / "no_label.zarr", hosts_per_group=1)
    group = zarr.open_group(path, mode="r+")
    del group["label"]
    with pytest.raises(ValueError, match="is not a store"):
        read_store(path)


def test_an_unfinished_store_is_refused(tmp_path):
    (tmp_path / "run.toml").write_text("[defects]\nsupercell = [2, 2, 2]\n[pdf]\nrmax = 12.0\n")
    command = ["generate", tmp_path / "run.toml", "--store", tmp_path / "s.zarr", "--limit", 2]
    assert CliRunner().invoke(app, [str(word) for word in command]).exit_code == 0
    store = read_store(tmp_path / "s.zarr")
    assert len(store.rows) == 24
    next((tmp_path / "s.zarr" / "ledger").glob("*.json")).unlink()
    with pytest.raises(ValueError, match="not finished, 2 hosts are missing"):
        read_store(tmp_path / "s.zarr")


def test_repeated_ids_are_refused(tmp_path, make_store):
    path = make_store(tmp_path / "twice.zarr", hosts_per_group=1, ids=["one"] * 16)
    with pytest.raises(ValueError, match="repeats structure ids"):
        read_store(path)


def test_importing_the_package_and_its_commands_is_light():
    heavy = "{'torch', 'zarr', 'sklearn', 'matplotlib', 'pymatgen'}"
    code = f"import sys, train, train.commands; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
