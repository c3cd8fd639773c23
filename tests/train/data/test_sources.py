"""Samples from memory and from disk, and how much of a store to hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from train.data.sources import StoreSource, fits_in_memory, window_of
from train.data.store import Dataset
from train.problems.defects.examples import read_examples
from train.problems.defects.inputs import PairInput
from train.setup.distributed import World

CPU = torch.device("cpu")


def test_samples_are_the_defective_rows(store_path):
    store = read_examples(Dataset.open(store_path))
    samples = StoreSource(store, PairInput("shared"), CPU, resident=True).samples(
        np.arange(len(store.rows))
    )
    assert samples.inputs.shape == (len(store.rows), 2, 300)
    assert store.classes == ("vacancy", "self_interstitial", "substitution", "interstitial")
    assert samples.targets["class"].bincount().tolist() == [3 * (len(store.id) - 1)] * 4
    structure, variant = store.rows[-1]
    ratio = 79 / 42  # gold in molybdenum
    expected = [10 * store.concentration[structure, variant], np.log(ratio)]
    np.testing.assert_allclose(samples.targets["regression"][-1], expected, rtol=1e-6)


@pytest.mark.parametrize("scaling", ["shared", "trace"])
def test_rows_read_from_disk_are_those_in_memory(store_path, scaling):
    store = read_examples(Dataset.open(store_path))
    rows = np.random.default_rng(0).permutation(len(store.rows))[:50]
    kept, read = (
        StoreSource(store, PairInput(scaling), CPU, resident).samples(rows)
        for resident in (True, False)
    )
    assert torch.equal(kept.inputs, read.inputs)
    for name, values in kept.targets.items():
        assert torch.equal(values, read.targets[name])


@pytest.mark.parametrize("resident", [True, False])
def test_traces_that_are_not_finite_are_named(tmp_path, make_store, resident):
    path = make_store(tmp_path / "damaged.zarr", hosts_per_group=1)
    zarr.open_group(path, mode="r+")["g"][2, 3, 7] = np.nan
    store = read_examples(Dataset.open(path))
    with pytest.raises(ValueError, match=r"1 labelled PDFs .* not finite.* Fe-225-0"):
        StoreSource(store, PairInput("shared"), CPU, resident).samples(np.arange(len(store.rows)))


@pytest.mark.parametrize("array", ["g", "label"])
def test_a_damaged_store_is_named(tmp_path, make_store, array):
    path = make_store(tmp_path / "damaged.zarr", hosts_per_group=1)
    chunk = max((path / array / "c").rglob("0"), key=lambda file: file.is_file())
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"damaged\.zarr is damaged .* `defectpdf verify` says"):
        StoreSource(read_examples(Dataset.open(path)), PairInput("shared"), CPU, resident=True)


def test_what_is_held_is_bounded_by_memory_and_by_what_is_drawn(store_path, monkeypatch):
    store, world = read_examples(Dataset.open(store_path)), World(0, 1, CPU)
    assert fits_in_memory(store, world)
    assert window_of(store, None, world) is None
    of_a_host = 4 * 4 * 13 * 300
    monkeypatch.setattr("train.data.sources.memory_limit", lambda: 4 * 10 * of_a_host)
    assert not fits_in_memory(store, world)
    assert window_of(store, None, world) == 5
    assert window_of(store, None, World(0, 2, CPU, local_size=2)) == 5


LARGE = """
import resource, sys
from pathlib import Path
import numpy as np, torch, zarr
from train.data.store import Dataset
from train.problems.defects.examples import read_examples
from train.setup.distributed import World
from train.problems.defects.inputs import PairInput
from train.fitting.loop import fit
from train.problems.defects.recipes import make_recipe

torch.set_num_threads(1)
torch.nn.functional.conv1d(torch.ones(8, 4, 50), torch.ones(4, 4, 3))
import scipy.stats, sklearn.metrics, torchmetrics
used = int(open("/proc/self/status").read().split("VmData:")[1].split()[0]) << 10
limit = used + (650 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
if sys.argv[1] == "whole":
    zarr.open_group(sys.argv[2], mode="r")["g"][:]
else:
    recipe = make_recipe("ideal", {"epochs": 1, "batch_size": 32})
    alone = World(0, 1, torch.device("cpu"))
    metrics = fit(Path(sys.argv[2]), Path(sys.argv[3]), recipe, "host", 0, alone)
    print(metrics["test"]["n"])
"""


@pytest.mark.slow
def test_a_store_larger_than_memory_is_trained_on(tmp_path):
    path, n_hosts, n_points = tmp_path / "large.zarr", 12000, 1200
    write_large_store(path, n_hosts, n_points)
    assert 4 * n_hosts * 13 * n_points > 650 << 20

    def run(what: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", LARGE, what, path, tmp_path / "run"]
        root = str(Path(__file__).parents[3])
        environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    whole = run("whole")
    assert whole.returncode != 0
    assert "MemoryError" in whole.stderr, "the limit must be one that reading it whole exceeds"
    fitted = run("fit")
    assert fitted.returncode == 0, fitted.stderr
    assert int(fitted.stdout.split()[-1]) > 0


def write_large_store(path: Path, n_hosts: int, n_points: int) -> None:
    """A labelled variant of thirteen in every fifth host: much to hold, little to learn."""
    random = np.random.default_rng(0)
    group = zarr.open_group(path, mode="w")
    g = group.create_array(
        "g",
        shape=(n_hosts, 13, n_points),
        chunks=(32, 13, n_points),
        dtype="f4",
        compressors=None,
        dimension_names=("structure", "variant", "r"),
    )
    block = random.normal(size=(400, 13, n_points)).astype("f4")
    for start in range(0, n_hosts, 400):
        block[:, 0] = random.normal(size=(400, n_points))  # no host looks like another
        g[start : start + 400] = block
    label = np.full((n_hosts, 13), -1, np.int8)
    label[::5, 0], label[::5, 1] = 0, np.arange(n_hosts)[::5] % 4 + 1
    names = np.array([f"host-{k}" for k in range(n_hosts)]).astype(np.dtypes.StringDType())
    elements = np.array(["Al", "Fe", "Ni", "Cu"])[np.arange(n_hosts) // 4 % 4]
    columns = {
        "r": np.linspace(1.5, 30, n_points),
        "label": label,
        "concentration": np.full((n_hosts, 13), 0.05, np.float32),
        "impurity": np.zeros((n_hosts, 13), np.uint8),
        "id": names,
        "element": elements.astype(np.dtypes.StringDType()),
        "origin": names,
        "space_group": 100 + (np.arange(n_hosts) // 16 % 40).astype(np.int16),
    }
    for name, values in columns.items():
        group.create_array(name, data=values)
    kinds = "pristine vacancy self_interstitial substitution interstitial"
    group["label"].attrs.update(flag_values=list(range(5)), flag_meanings=kinds)
