"""Several processes: the same curve, the same bits after a kill, a quick stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import windowed_fit
from runs import Bench, command, until

from train.runs.rundir import read_history

EPOCHS = 4
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts=2"]
PLACE = Path(__file__).parents[3]
RECIPES = {
    "default": [],
    "accumulated": ["--set", "accumulation=2"],
    # Its dropout would differ between processes; and its norms, with Adam, make much of the last
    # bits, which add up in another order, so that only small steps can be compared.
    "reference": [
        *("--recipe", "reference", "--set", "epochs=2"),
        *("--set", "dropout=0", "--set", "learning_rate=1e-5"),
    ],
}


def launcher(processes: int) -> list[str]:
    """`defectpdf launch`, or `python -m train` for a single process."""
    if processes == 1:
        return [sys.executable, "-m", "train"]
    return command("launch", "--processes", processes)


@contextmanager
def training(
    store: Path, run: Path, launch: int | list[str], *options: str
) -> Iterator[subprocess.Popen]:
    """A training by so many processes, or as another command starts it."""
    start = launcher(launch) if isinstance(launch, int) else launch
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [*start, str(store), "--out", str(run), "--set", f"epochs={EPOCHS}", *options],
        env=environment | {"PYTHONPATH": str(PLACE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finish(store: Path, run: Path, launch: int | list[str], *options: str) -> str:
    with training(store, run, launch, *options) as process:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    return output


def curve(run: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in read_history(run)]


def check_parity(store: Path, folder: Path, launch: int | list[str], options: list[str]) -> None:
    finish(store, folder / "one", 1, *options)
    output = finish(store, folder / "several", launch, *options)
    assert output.count("test accuracy") == 1, "only one process speaks"
    for several, one in zip(curve(folder / "several"), curve(folder / "one"), strict=True):
        for name in ("train_loss", "val_loss"):
            assert several[name] == pytest.approx(one[name], rel=1e-3, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "launch", [2, [*TORCHRUN, "--nproc-per-node=2", "-m", "train"]], ids=["launch", "torchrun"]
)
def test_two_processes_follow_the_curve_of_one(store_path, tmp_path, launch):
    check_parity(store_path, tmp_path, launch, ["--set", "epochs=2"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "recipe"), [(4, "default"), (2, "accumulated"), (4, "reference")]
)
def test_any_number_of_processes_follows_the_curve_of_one(store_path, tmp_path, processes, recipe):
    check_parity(store_path, tmp_path, processes, RECIPES[recipe])


@pytest.mark.slow
def test_unequal_shares_are_accumulated_in_as_many_parts(store_path, tmp_path):
    """11, 11 and 10 rows in five parts each: norms sum over all processes for every part."""
    options = ["--recipe", "reference", "--set", "epochs=1", "--set", "accumulation=5"]
    finish(store_path, tmp_path / "run", 3, *options)


@pytest.mark.slow
def test_processes_draw_what_one_would(tmp_path):
    bench = Bench(tmp_path / "store")
    assert bench.generate().returncode == 0
    options = ["--draws", "streaming", "--set", "batch_size=5", "--set", "variation.noise=0.01"]
    check_parity(bench.store, tmp_path, 2, options)


@pytest.mark.slow
def test_processes_read_their_own_shards_of_a_window_and_follow_the_curve_of_one(
    make_store, tmp_path
):
    store = make_store(tmp_path / "many.zarr", hosts_per_group=8)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    for processes in (1, 2):
        run, window = tmp_path / str(processes), 12 * 5
        launch = [*TORCHRUN, f"--nproc-per-node={processes}"] if processes > 1 else [sys.executable]
        command = [*launch, windowed_fit.__file__, store, run, window, 1]
        subprocess.run([str(part) for part in command], env=environment, check=True, timeout=300)
    (one,), (two,) = curve(tmp_path / "1"), curve(tmp_path / "2")
    for name in ("train_loss", "val_loss"):
        assert two[name] == pytest.approx(one[name], rel=1e-3, abs=1e-4)
    alone, first, second = (np.load(tmp_path / f"{name}.npy") for name in ("1-0", "2-0", "2-1"))
    shards = len(np.unique(alone))
    assert len(alone) <= 1.3 * shards, "each is read once, but for what the last window levels"
    assert max(len(first), len(second)) <= 0.7 * shards


def is_within(run: Path, epoch: int) -> bool:
    """Whether the last snapshot is from within an epoch that comes after so many."""
    if not (run / "snapshot.pt").exists():
        return False
    state = torch.load(run / "snapshot.pt", weights_only=True)
    return len(state["history"]) >= epoch and state["step"] > 0


# Many steps to an epoch, so that some are lost and some are not.
EXACT = ["--set", "deterministic=true", "--set", "batch_size=9"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "options"),
    [(2, []), (3, ["--set", "dropout=0.2"])],
    ids=["two", "three"],
)
def test_a_rank_killed_in_an_epoch_leaves_no_trace(store_path, tmp_path, processes, options):
    """All start again; they go on from the last snapshot to the same bits."""
    options = [*EXACT, *options]
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    finish(store_path, undisturbed, processes, *options)
    often = [*options, "--snapshot-seconds", "0"]
    with training(store_path, disturbed, processes, *often) as process:
        for epoch in (1, 2):
            until(lambda epoch=epoch: is_within(disturbed, epoch), process)
            ranks = psutil.Process(process.pid).children()
            assert len(ranks) == processes
            ranks[-epoch].kill()
            for rank in ranks:
                rank.wait(60)
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    for number in (1, 2):
        killed = f"process {processes - number} was killed by SIGKILL"
        assert f"{killed}; all start again ({number} of at most 3 times)" in output
    assert output.count(f"continuing {disturbed}") == 2
    assert "Traceback" not in output
    assert "steps" in output, "a snapshot was from within an epoch"
    assert curve(disturbed) == curve(undisturbed)
    model = "model.safetensors"
    assert (disturbed / model).read_bytes() == (undisturbed / model).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "number"), [(1, "SIGTERM"), (2, "SIGTERM"), (1, "SIGINT"), (2, "SIGINT")]
)
def test_a_signal_stops_all_processes_in_time(store_path, tmp_path, processes, number):
    """In an epoch that takes longer than there is time: a scheduler kills after 30 s.

    To all at once, as a terminal's Ctrl-C comes: the launcher and each process have it.
    """
    run, options = tmp_path / "run", [*EXACT, "--set", "epochs=2"]
    with training(store_path, run, processes, *options, "--snapshot-seconds", "0") as process:
        until(lambda: (run / "snapshot.pt").exists(), process)
        asked = time.monotonic()
        os.killpg(process.pid, signal.Signals[number])
        output, _ = process.communicate(timeout=60)
        assert time.monotonic() - asked < 20
    assert process.returncode == 128 + signal.Signals[number]
    assert output.count("the same command continues") == 1
    assert "Traceback" not in output
    finish(store_path, run, processes, *options)
    finish(store_path, tmp_path / "undisturbed", processes, *options)
    model = "model.safetensors"
    assert (run / model).read_bytes() == (tmp_path / "undisturbed" / model).read_bytes()
