from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from train.data.leakage import LOOKALIKE, SAME_CRYSTAL, make_split
from train.data.splits import PARTS, split_rows
from train.data.store import Dataset
from train.problems.defects.examples import DefectExamples, read_examples


def hosts_of(store: DefectExamples, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {part: np.unique(store.rows[rows[part], 0]) for part in PARTS}


@pytest.fixture
def path(store_path, tmp_path) -> Path:
    """A store to plant something in."""
    return shutil.copytree(store_path, tmp_path / "toy.zarr")


def examples_of(path: Path) -> DefectExamples:
    return read_examples(Dataset.open(path))


def plant_twin(path: Path, one: int, other: int, distance: float) -> None:
    """Move host `other` so far from `one` as its pristine G(r) goes, relatively."""
    array = zarr.open_group(path, mode="r+")["g"]
    g = array[:]
    noise = np.random.default_rng(0).normal(size=g.shape[2])
    noise *= distance * np.linalg.norm(g[one, 0]) / np.linalg.norm(noise)
    array[other] = g[one] + noise.astype(np.float32)


@pytest.mark.parametrize("split", ["host", "element", "space_group:225"])
@pytest.mark.parametrize(("part", "other"), [("test", "train"), ("val", "train"), ("test", "val")])
def test_the_same_crystal_in_two_parts_is_refused(path, split, part, other):
    store = examples_of(path)
    hosts = hosts_of(store, split_rows(store, split, 0))
    one, two = hosts[part][0], hosts[other][0]
    plant_twin(path, one, two, 0.9 * SAME_CRYSTAL)
    with pytest.raises(ValueError, match=f"leaks from {other} to {part}") as error:
        make_split(store, split, 0)
    assert f"{store.id[one]} " in str(error.value)
    assert f"{store.id[two]} " in str(error.value)
    assert "take one of them out of the library" in str(error.value)


@pytest.mark.parametrize("part", ["val", "test"])
def test_training_does_without_what_looks_like_a_held_out_host(path, part):
    store = examples_of(path)
    plain = split_rows(store, "host", 0)
    hosts = hosts_of(store, plain)
    alike, apart = hosts["train"][:2]
    plant_twin(path, hosts[part][0], alike, 0.5 * (SAME_CRYSTAL + LOOKALIKE))
    plant_twin(path, hosts[part][1], apart, 1.1 * LOOKALIKE)
    split = make_split(store, "host", 0)
    assert split.leakage["left_out"] == [store.id[alike]]
    np.testing.assert_array_equal(split.rows[part], plain[part])
    left = plain["train"][store.rows[plain["train"], 0] != alike]
    np.testing.assert_array_equal(split.rows["train"], left)
    smallest = split.leakage[part]["nearest_training_host"]["0 %"]
    assert smallest == pytest.approx(1.1 * LOOKALIKE, rel=1e-3)
    assert split.leakage[part]["hosts_in_training"] == 0


def test_a_library_of_lookalikes_is_refused(path):
    array = zarr.open_group(path, mode="r+")["g"]
    g = array[:]
    random = np.random.default_rng(0).normal(size=(len(g), 1, g.shape[2]))
    g[:] = g[:1, :1] * (1 + 0.008 * random)
    g[1] = np.nan  # the quarantined host
    array[:] = g
    with pytest.raises(ValueError, match="nothing to train on"):
        make_split(examples_of(path), "host", 0)


def test_the_row_split_leaks_and_says_how_much(store_path):
    store = read_examples(Dataset.open(store_path))
    split = make_split(store, "row", 0)
    plain = split_rows(store, "row", 0)
    assert all(np.array_equal(split.rows[part], plain[part]) for part in PARTS)
    hosts = hosts_of(store, plain)
    for part in ("val", "test"):
        shared = np.intersect1d(hosts[part], hosts["train"])
        leakage = split.leakage[part]
        assert (leakage["hosts"], leakage["hosts_in_training"]) == (len(hosts[part]), len(shared))
        assert leakage["nearest_training_host"]["50 %"] == 0


def test_a_run_on_a_store_with_a_planted_duplicate_fails(make_store, tmp_path):
    from train.cli import app

    path = make_store(tmp_path / "planted.zarr")
    store = examples_of(path)
    hosts = hosts_of(store, split_rows(store, "host", 0))
    g = zarr.open_group(path, mode="r+")["g"]
    g[int(hosts["train"][0])] = g[int(hosts["test"][0])]
    command = ["train", str(path), "--out", str(tmp_path / "run"), "--epochs", "1"]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, ValueError)
    assert "are the same crystal" in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_train_and_evaluate_tell_what_leaks(store_path, tmp_path):
    from train.cli import app

    run = tmp_path / "run"
    command = ["train", str(store_path), "--out", str(run), "--split", "row", "--epochs", "1"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "warning: the row split has" in result.output
    leakage = json.loads((run / "metrics.json").read_text())["test"]["leakage"]
    assert leakage["hosts_in_training"] > 0
    result = CliRunner().invoke(app, ["evaluate", str(run), str(store_path), "--json"])
    assert json.loads(result.stdout)["leakage"] == leakage
    result = CliRunner().invoke(app, ["evaluate", str(run), str(store_path), "--split", "train"])
    assert "also in training" not in result.stdout
