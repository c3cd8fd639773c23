"""A disk that is full while a run is written: one line, and nothing that was there is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from disks import small_disk
from runs import command, until

from pdfcalc.files import append_text
from train.runs.rundir import (
    load_snapshot,
    read_config,
    read_history,
    save_model,
    save_snapshot,
    write_text,
)
from train.runs.scalars import epoch_scalars

CPU = torch.device("cpu")


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as found:
        yield found


def snapshot(run: Path, value: float) -> None:
    save_snapshot(run, "run", {"weights": torch.full((1000,), value)})


WRITERS = {
    "snapshot.pt": snapshot,
    "model.safetensors": lambda run, value: save_model(run, {"a": torch.full((2000,), value)}),
    "metrics.json": lambda run, value: write_text(run / "metrics.json", str(value) * 5000),
    "metrics.jsonl": lambda run, value: append_text(run / "metrics.jsonl", f"{value}\n" * 5000),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_written_stays_and_the_file_is_named(disk, name):
    WRITERS[name](disk.folder, 1.0)
    before = (disk.folder / name).read_bytes()
    with disk.full(os.getpid()):
        with pytest.raises(OSError, match=f"disk/{name}") as caught:
            WRITERS[name](disk.folder, 2.0)
        assert caught.value.strerror in ("No space left on device", "File too large")
        assert (disk.folder / name).read_bytes() == before
    assert [path.name for path in disk.folder.iterdir()] == [name], "nothing half-written is left"
    WRITERS[name](disk.folder, 2.0)
    assert (disk.folder / name).read_bytes() != before


def test_curves_for_tensorboard_end_with_the_name_of_their_folder(disk, capfd):
    record = {"epoch": 1} | {f"quantity {number}": 0.5 for number in range(200)}

    def write_on() -> None:
        with epoch_scalars(disk.folder, []) as write:
            write(record)
            with disk.full(os.getpid()):
                for _ in range(10):
                    write(record)

    with pytest.raises(OSError, match="disk/tensorboard"):
        write_on()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_training_goes_on_once_there_is_space(disk, store_path, tmp_path, processes):
    def start(run: Path) -> subprocess.Popen:
        launch = [sys.executable, "-m", "train"]
        if processes > 1:
            launch = command("launch", "--processes", processes)
        options = ["--epochs", "12", "--snapshot-seconds", "0", "--set", "deterministic=true"]
        return subprocess.Popen(
            [*launch, str(store_path), "--out", str(run), *options],
            env=os.environ
            | {"PYTHONPATH": str(Path(__file__).parents[3])}
            | {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    run = disk.folder / "run"
    process = start(run)
    try:
        until((run / "model.safetensors").exists, process)
        with disk.full(process.pid):
            output, errors = process.communicate(timeout=120)
            assert process.returncode == 2, output + errors
            assert errors.count("\n") == 1, errors
            assert f"{run}/" in errors
            assert "; nothing written before is lost: " in errors
            assert errors.endswith(" and run the same command again\n")
            state = load_snapshot(run, read_config(run).token, CPU)
            assert state
            assert len(read_history(run)) >= len(state["history"])
            assert (run / "model.safetensors").exists()
    finally:
        process.kill()
    for again in (run, tmp_path / "undisturbed"):
        output, errors = start(again).communicate(timeout=240)
        assert "test accuracy" in output, errors
    names = ("model.safetensors", "split.json")
    for name in names:
        assert (run / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
