from __future__ import annotations

import subprocess
import sys

import pytest

from train.runs.scalars import FOLDER, epoch_scalars


def record(epoch: int, loss: float) -> dict[str, float]:
    return {"epoch": epoch, "train_loss": loss, "learning_rate": 1e-3 / epoch}


def read_scalars(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_an_epoch_can_be_read_as_soon_as_it_is_written(tmp_path):
    with epoch_scalars(tmp_path, []) as write:
        for epoch in (1, 2):
            write(record(epoch, 1 / epoch))
            found = read_scalars(tmp_path / FOLDER)
            assert found["train_loss"] == [(e, 1 / e) for e in range(1, epoch + 1)]
    assert set(found) == {"train_loss", "learning_rate"}
    assert found["learning_rate"][1] == (2, pytest.approx(5e-4))


def test_a_run_that_goes_on_has_each_epoch_once(tmp_path):
    with epoch_scalars(tmp_path, []) as write:
        for epoch in (1, 2, 3):
            write(record(epoch, 8.0))
    history = [record(1, 8.0), record(2, 4.0)]  # epoch 3 was written, but lost by its snapshot
    with epoch_scalars(tmp_path, history) as write:
        write(record(3, 2.0))
    assert read_scalars(tmp_path / FOLDER)["train_loss"] == [(1, 8.0), (2, 4.0), (3, 2.0)]


def test_a_tensorboard_that_is_open_sees_the_epochs_of_the_continued_run(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with epoch_scalars(tmp_path, []) as write:
        write(record(1, 8.0))
        write(record(2, 8.0))
        opened = EventAccumulator(str(tmp_path / FOLDER)).Reload()
    with epoch_scalars(tmp_path, [record(1, 4.0)]) as write:
        write(record(2, 2.0))
        opened.Reload()
        found = [(event.step, event.value) for event in opened.Scalars("train_loss")]
        assert found == [(1, 4.0), (2, 2.0)]


def test_without_tensorboard_the_remedy_is_told(tmp_path):
    code = (
        "import sys; from pathlib import Path; sys.modules['tensorboard'] = None\n"
        "from train.runs.scalars import epoch_scalars\n"
        "try:\n    epoch_scalars(Path(sys.argv[1]), []).__enter__()\n"
        "except ImportError as error:\n    print(error)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    assert out.stdout.endswith("pip install 'defectpdf[tensorboard]'\n")
    assert not list(tmp_path.iterdir())
