"""Fits on a toy store: learning, repeating, resuming, several processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from safetensors.numpy import save_file

from train.data.store import Dataset
from train.fitting.loop import fit
from train.fitting.watch import StopRequested, Watch
from train.problems.defects.examples import DefectExamples, read_examples
from train.problems.defects.recipes import make_recipe
from train.runs.rundir import load_snapshot, read_config, read_history, read_rows, read_split
from train.setup.distributed import World, join_world

ALONE = World(0, 1, torch.device("cpu"))
EPOCHS = 5


def run_fit(store: Path, run: Path, seed: int = 0, **changes):
    recipe = make_recipe("ideal", {"epochs": EPOCHS} | changes)
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
        "calibration.json",
        "config.json",
        "familiarity.safetensors",
        "split.json",
        "split.safetensors",
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


@pytest.mark.slow
def test_a_stopped_run_continues_to_the_same_numbers(store_path, finished, tmp_path):
    command = [sys.executable, "-m", "train", store_path, "--out", tmp_path / "run"]
    command += ["--recipe", "ideal", "--epochs", str(EPOCHS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment())
    first_line = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    assert first_line.startswith("epoch   1/5")
    assert process.returncode == 143
    assert "the same command continues" in rest
    assert not (tmp_path / "run" / "metrics.json").exists()
    stopped_after = len(read_history(tmp_path / "run"))
    assert 0 < stopped_after < EPOCHS
    assert (tmp_path / "run" / "model.safetensors").exists()

    # As a kill between two writes would leave it: one line more than the snapshot knows.
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 99}\n')
    run_fit(store_path, tmp_path / "run")
    assert curve(tmp_path / "run") == curve(finished)


def test_a_finished_run_says_so(store_path, finished, capsys):
    before = (finished / "model.safetensors").stat().st_mtime_ns
    metrics = run_fit(store_path, finished)
    assert metrics["epochs"] == EPOCHS
    assert "already finished" in capsys.readouterr().out
    assert (finished / "model.safetensors").stat().st_mtime_ns == before


def test_a_run_that_goes_on_reads_its_split_and_no_traces_for_it(
    store_path, finished, tmp_path, monkeypatch
):
    reads = []
    read = DefectExamples.read

    def counted(self, name, structures=None, variants=slice(None)):
        reads.append(variants)
        return read(self, name, structures, variants)

    monkeypatch.setattr(DefectExamples, "read", counted)
    run_fit(store_path, finished)
    assert not reads, "it is finished"
    unfinished(store_path, tmp_path / "run")
    assert slice(1) in reads, "the check for leaks reads the hosts"
    reads.clear()
    run_fit(store_path, tmp_path / "run", epochs=1)
    assert reads
    assert slice(1) not in reads


@pytest.mark.parametrize("name", ["split.json", "split.safetensors"])
def test_a_missing_or_damaged_split_is_named_and_made_again(store_path, finished, tmp_path, name):
    run, store = tmp_path / "run", read_examples(Dataset.open(store_path))
    shutil.copytree(finished, run)
    whole, rows = (run / name).read_bytes(), read_rows(run, "test", store)
    again = "run the same `defectpdf train` again, which makes it anew"
    (run / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"{name} is damaged .*: remove {name}, then {again}"):
        read_rows(run, "test", store)
    (run / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing: {again}"):
        read_rows(run, "test", store)
    run_fit(store_path, run)
    assert (run / name).read_bytes() == whole
    np.testing.assert_array_equal(read_rows(run, "test", store), rows)


def test_rows_that_are_not_those_of_the_split_are_refused(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    split = read_split(run)
    arrays = split.rows | {"signatures": split.signatures}
    arrays["test"] = arrays["test"] + 1
    save_file(arrays, run / "split.safetensors")
    with pytest.raises(ValueError, match=r"damaged or not that of split\.json: remove split\.json"):
        read_split(run)
    (run / "split.json").write_text(json.dumps({"kind": "host", "train": [0], "leakage": {}}))
    with pytest.raises(
        ValueError, match=r"split\.json is damaged .*: remove split\.json, then run"
    ):
        read_split(run)


def test_another_configuration_is_refused_with_the_difference(store_path, finished):
    with pytest.raises(ValueError, match=r"recipe epochs was 5, now 6\); choose another --out"):
        run_fit(store_path, finished, epochs=6)
    with pytest.raises(ValueError, match="seed was 0, now 1"):
        run_fit(store_path, finished, seed=1)


def test_a_store_of_other_pdfs_is_another_run(store_path, tmp_path):
    store = tmp_path / "store.zarr"
    shutil.copytree(store_path, store)
    for made in ("first", "second"):
        zarr.open_group(store).attrs["input_hash"] = made
        if made == "first":
            run_fit(store, tmp_path / "run", epochs=1)
    with pytest.raises(ValueError, match="store inputs was first, now second"):
        run_fit(store, tmp_path / "run", epochs=1)


def test_a_loss_that_is_no_number_ends_the_run(store_path, tmp_path):
    with pytest.raises(ValueError, match="the loss of epoch 1 is nan; try a lower learning_rate"):
        run_fit(store_path, tmp_path / "run", epochs=2, learning_rate=1e30)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes share 1 GPUs"), join_world():
        pass


def test_a_directory_of_something_else_is_refused(store_path, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"not empty \(thesis.tex\)"):
        run_fit(store_path, tmp_path)


def unfinished(store: Path, run: Path, seed: int = 0) -> Path:
    """The snapshot of a run that was stopped just before its end."""
    run_fit(store, run, seed, epochs=1)
    (run / "metrics.json").unlink()
    return run / "snapshot.pt"


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_snapshot_is_refused(store_path, tmp_path, damage):
    snapshot = unfinished(store_path, tmp_path / "run")
    content = bytearray(snapshot.read_bytes())
    if damage == "cut":
        content = content[:5000]
    elif damage == "flipped":
        content[len(content) // 2] ^= 1  # among the numbers of some tensor
    else:
        content = bytearray()
    snapshot.write_bytes(content)
    with pytest.raises(ValueError, match=r"snapshot\.pt is damaged .* delete it to start"):
        run_fit(store_path, tmp_path / "run", epochs=1)


def test_the_snapshot_of_another_run_is_refused(store_path, tmp_path):
    snapshot = unfinished(store_path, tmp_path / "run")
    shutil.copy(unfinished(store_path, tmp_path / "other", seed=1), snapshot)
    with pytest.raises(ValueError, match=r"snapshot\.pt is of another run.* delete it to start"):
        run_fit(store_path, tmp_path / "run", epochs=1)


def test_a_snapshot_that_carries_code_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"model": Payload()}, tmp_path / "snapshot.pt")
    with pytest.raises(ValueError, match="damaged"):
        load_snapshot(tmp_path, "", torch.device("cpu"))
    assert not (tmp_path / "owned").exists()


@pytest.mark.slow
def test_reference_recipe_runs(store_path, tmp_path):
    recipe = make_recipe("reference", {"epochs": 1})
    metrics = fit(store_path, tmp_path / "run", recipe, "row", 0, ALONE)
    assert metrics["test"]["n"] > 0
    token = read_config(tmp_path / "run").token
    assert load_snapshot(tmp_path / "run", token, ALONE.device)["scheduler"]["factor"] == 0.85


def test_parts_of_a_batch_give_the_gradient_of_the_whole(store_path, tmp_path):
    for parts in (1, 3):
        run_fit(store_path, tmp_path / str(parts), epochs=1, batch_size=48, accumulation=parts)
    one, three = (curve(tmp_path / name)[0]["train_loss"] for name in "13")
    assert three == pytest.approx(one, rel=1e-4)


@pytest.mark.slow
def test_products_in_bfloat16_learn_as_well(store_path, tmp_path):
    metrics = run_fit(store_path, tmp_path / "run", precision="bfloat16")
    assert metrics["test"]["accuracy"] > 0.9


def test_tensorboard_gets_every_epoch(store_path, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = make_recipe("default", {"epochs": 2})
    fit(store_path, tmp_path / "run", recipe, "host", 0, ALONE, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("val_loss")]
    expected = [(epoch["epoch"], epoch["val_loss"]) for epoch in curve(tmp_path / "run")]
    assert found == [(epoch, pytest.approx(loss)) for epoch, loss in expected]
    assert len(found) == 2


@pytest.mark.slow
def test_training_stops_early_when_nothing_gets_better(store_path, tmp_path):
    metrics = run_fit(store_path, tmp_path / "run", epochs=60, patience=2)
    assert metrics["best_epoch"] + 2 == metrics["epochs"] < 60


@pytest.mark.slow
def test_windows_of_hosts_learn_as_well(store_path, tmp_path, monkeypatch):
    monkeypatch.setattr("train.data.sources.memory_limit", lambda: 4 * 13 * 4 * 4 * 13 * 300)
    metrics = run_fit(store_path, tmp_path / "run")
    assert read_config(tmp_path / "run").window == 5
    assert metrics["test"]["accuracy"] > 0.95


def fit_real(store: Path, run: Path, draws: str, **changes) -> None:
    choices = {"epochs": 4, "batch_size": 2, "draws": draws} | changes
    fit(store, run, make_recipe("default", choices), "host", 0, ALONE, snapshot_seconds=0)


@pytest.mark.parametrize("window", [pytest.param(None, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("draws", [pytest.param("store", marks=pytest.mark.slow), "streaming"])
def test_a_run_that_died_in_an_epoch_goes_on_to_the_same_bits(
    real_store, tmp_path, monkeypatch, draws, window
):
    if window:
        monkeypatch.setattr("train.fitting.loop.window_of", lambda *_: window)
        monkeypatch.setattr("train.data.sources.fits_in_memory", lambda *_: False)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit_real(real_store, whole, draws)
    seen = []

    def die(_: object) -> None:
        """In the third epoch, after the steps that lead to the next snapshot."""
        seen.append(1)
        if len(seen) == 3:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(
            "train.fitting.trainer.Trainer.validate",
            lambda *_: (die(_), {"val_loss": 0.1, "val_accuracy": 0.5})[1],
        )
        patch.setattr("train.fitting.loop._STEPS_BETWEEN_CHECKS", 3)
        with pytest.raises(RuntimeError, match="power cut"):
            fit_real(real_store, broken, draws)
    fit_real(real_store, broken, draws)
    state = [load_snapshot(run, read_config(run).token, ALONE.device) for run in (whole, broken)]
    assert len(read_history(broken)) == 4
    for one, other in zip(*(s["model"].values() for s in state), strict=True):
        assert torch.equal(one, other)


def test_streaming_trains_on_other_defects_and_is_scored_on_the_stores(real_store, tmp_path):
    for draws in ("store", "streaming"):
        fit_real(real_store, tmp_path / draws, draws)
    fit_real(real_store, tmp_path / "again", "streaming")
    assert curve(tmp_path / "again") == curve(tmp_path / "streaming")
    stored, fresh = (curve(tmp_path / draws) for draws in ("store", "streaming"))
    assert stored[0]["train_loss"] != fresh[0]["train_loss"]
    sizes = [
        json.loads((tmp_path / draws / "metrics.json").read_text())["test"]["n"]
        for draws in ("store", "streaming")
    ]
    assert sizes[0] == sizes[1] > 0


@pytest.mark.slow
def test_streaming_draws_vary_as_asked(real_store, tmp_path):
    variation = {"strain": 0.02, "qdamp": [0.02, 0.04], "noise": 0.01, "epochs": 2}
    changes = {f"variation.{name}": value for name, value in variation.items()}
    fit_real(real_store, tmp_path / "plain", "streaming")
    fit_real(real_store, tmp_path / "varied", "streaming", **changes)
    assert curve(tmp_path / "plain")[0]["train_loss"] != curve(tmp_path / "varied")[0]["train_loss"]
    stored = read_config(tmp_path / "varied").recipe.variation
    assert (stored.strain, stored.qdamp, stored.epochs) == (0.02, (0.02, 0.04), 2)


def test_streaming_from_a_store_without_its_hosts_is_refused(store_path, tmp_path):
    with pytest.raises(ValueError, match=r"toy\.zarr"):
        run_fit(store_path, tmp_path / "run", draws="streaming")


def test_more_processes_than_rows_of_a_batch_are_refused(store_path, tmp_path):
    with pytest.raises(ValueError, match="4 leave some without a row of a batch of 3; use fewer"):
        run_fit(store_path, tmp_path / "run", batch_size=3, accumulation=4)
    # What was refused is no run yet, so that the same place is free for a better choice.
    run_fit(store_path, tmp_path / "run", epochs=1)


def test_a_watch_notices_signals_and_puts_their_handlers_back():
    before = signal.getsignal(signal.SIGUSR2)
    with Watch(ALONE, seconds=1000) as watch:
        assert not watch.snapshot_is_due()
        os.kill(os.getpid(), signal.SIGUSR2)
        with pytest.raises(StopRequested):
            watch.snapshot_is_due()
    assert signal.getsignal(signal.SIGUSR2) is before
    with Watch(ALONE, seconds=0) as watch:
        assert watch.snapshot_is_due()


def test_a_watch_takes_ctrl_c_for_a_request_and_a_second_one_for_an_order():
    with Watch(ALONE, seconds=1000) as watch:
        for _ in range(2):  # as a terminal and a launcher bring the same one
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(StopRequested) as caught:
            watch.snapshot_is_due()
        assert caught.value.exit_code == 130
        time.sleep(1.1)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "train", tmp_path / "none.zarr", "--out", tmp_path / "run"]
    result = subprocess.run(command, capture_output=True, text=True, env=_environment())
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "none.zarr is not a store" in result.stderr


def _environment() -> dict[str, str]:
    """The environment of a child that imports the packages of this checkout."""
    root = str(Path(__file__).parents[3])
    return os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
