"""Fits on a toy store: learning, repeating, resuming, several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from train.distributed import World
from train.loop import fit, stop_signals
from train.recipes import make_recipe
from train.rundir import load_snapshot, read_history

ALONE = World(0, 1, torch.device("cpu"))
EPOCHS = 5


def run_fit(store: Path, run: Path, epochs: int = EPOCHS, seed: int = 0, **changes):
    recipe = make_recipe("default", epochs=epochs).model_copy(update=changes)
    return fit(store, run, recipe, "host", seed, ALONE)


def curve(run: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in read_history(run)]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in the child processes: sums over threads differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def finished(store_path, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "finished"
    run_fit(store_path, run)
    return run


def test_a_fit_learns_and_leaves_a_complete_run_directory(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "config.json",
        "split.json",
        "metrics.json",
        "metrics.jsonl",
        "model.safetensors",
        "snapshot.pt",
    }
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.95
    assert metrics["epochs"] == EPOCHS


def test_the_same_command_gives_the_same_numbers(store_path, finished, tmp_path):
    run_fit(store_path, tmp_path / "again")
    assert curve(tmp_path / "again") == curve(finished)
    one, two = (
        json.loads((run / "metrics.json").read_text()) | {"seconds": 0}
        for run in (finished, tmp_path / "again")
    )
    assert one == two


def test_a_stopped_run_continues_to_the_same_numbers(store_path, finished, tmp_path):
    command = [sys.executable, "-m", "train", store_path, "--out", tmp_path / "run"]
    command += ["--epochs", str(EPOCHS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment())
    first_line = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    assert first_line.startswith("epoch   1/5")
    assert process.returncode == 0
    assert "the same command continues" in rest
    assert not (tmp_path / "run" / "metrics.json").exists()
    stopped_after = len(read_history(tmp_path / "run"))
    assert 0 < stopped_after < EPOCHS

    # As a kill between two writes would leave it: one line more than the snapshot knows.
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 99}\n')
    run_fit(store_path, tmp_path / "run")
    assert curve(tmp_path / "run") == curve(finished)


def test_two_processes_follow_the_same_loss_curve(store_path, finished, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "-m", "train", store_path, "--out", tmp_path / "run"]
    command += ["--epochs", str(EPOCHS)]
    result = subprocess.run(command, capture_output=True, text=True, env=_environment())
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("test accuracy") == 1  # only one process speaks
    for two, one in zip(curve(tmp_path / "run"), curve(finished), strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-3, abs=1e-4)
        assert two["val_loss"] == pytest.approx(one["val_loss"], rel=1e-3, abs=1e-4)


def test_a_finished_run_says_so(store_path, finished, capsys):
    before = (finished / "model.safetensors").stat().st_mtime_ns
    metrics = run_fit(store_path, finished)
    assert metrics["epochs"] == EPOCHS
    assert "already finished" in capsys.readouterr().out
    assert (finished / "model.safetensors").stat().st_mtime_ns == before


def test_another_configuration_is_refused_with_the_difference(store_path, finished):
    with pytest.raises(ValueError, match=r"recipe epochs was 5, now 6\); choose another --out"):
        run_fit(store_path, finished, epochs=6)
    with pytest.raises(ValueError, match="seed was 0, now 1"):
        run_fit(store_path, finished, seed=1)


def test_a_directory_of_something_else_is_refused(store_path, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"not empty \(thesis.tex\)"):
        run_fit(store_path, tmp_path)


def test_a_damaged_snapshot_is_refused(store_path, finished, tmp_path):
    run_fit(store_path, tmp_path / "run", epochs=1)
    (tmp_path / "run" / "metrics.json").unlink()
    snapshot = tmp_path / "run" / "snapshot.pt"
    snapshot.write_bytes(snapshot.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"snapshot\.pt is damaged"):
        run_fit(store_path, tmp_path / "run", epochs=1)


def test_a_snapshot_that_carries_code_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"model": Payload()}, tmp_path / "snapshot.pt")
    with pytest.raises(ValueError, match="damaged"):
        load_snapshot(tmp_path, torch.device("cpu"))
    assert not (tmp_path / "owned").exists()


def test_reference_recipe_runs(store_path, tmp_path):
    recipe = make_recipe("reference", epochs=1)
    metrics = fit(store_path, tmp_path / "run", recipe, "row", 0, ALONE)
    assert metrics["test"]["n"] > 0
    assert load_snapshot(tmp_path / "run", ALONE.device)["scheduler"]["factor"] == 0.85


def test_stop_signals_are_noticed_and_put_back():
    before = signal.getsignal(signal.SIGUSR2)
    with stop_signals() as stopping:
        assert not stopping
        os.kill(os.getpid(), signal.SIGUSR2)
        assert stopping
    assert signal.getsignal(signal.SIGUSR2) is before


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "train", tmp_path / "none.zarr", "--out", tmp_path / "run"]
    result = subprocess.run(command, capture_output=True, text=True, env=_environment())
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "none.zarr is not a store" in result.stderr


def _environment() -> dict[str, str]:
    """The environment of a child that imports the packages of this checkout."""
    root = str(Path(__file__).parents[2])
    return os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
