"""Problems of another package: labels and a number from images, and images from themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import PLUG_INS, TOY_TOML, Bench, command
from typer.testing import CliRunner

from train.cli import app
from train.data.store import Dataset
from train.problems import find_problem
from train.runs.predictions import predict_part
from train.runs.rundir import read_config, read_history


@pytest.fixture(scope="module", autouse=True)
def plugged_in():
    """Found by its entry points in this process, as in those that PYTHONPATH tells of it."""
    sys.path.insert(0, str(PLUG_INS))
    yield
    sys.path.remove(str(PLUG_INS))


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    toml = TOY_TOML.replace("[source.toy]", "[source.toy]\ncount = 24\nvariants = 8")
    bench = Bench(tmp_path_factory.mktemp("toy"), toml)
    out = bench.generate()
    assert out.returncode == 0, out.stderr
    return bench


def train(bench: Bench, run: Path, problem: str, *options: str, processes: int = 1) -> str:
    arguments = ["train", bench.store, "--out", run, "--problem", problem, *options]
    launch = command(*arguments)
    if processes > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone"]
        own = [f"--nproc-per-node={processes}", "-m", "train", *map(str, arguments[1:])]
        launch = [sys.executable, *torchrun, *own]
    environment = bench.environment() | {"OMP_NUM_THREADS": "1"}
    root = str(Path(__file__).parents[3])
    environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], root])
    out = subprocess.run(launch, env=environment, capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stderr
    return out.stdout


@pytest.fixture(scope="module")
def run(bench, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "toy"
    out = train(bench, run, "toy")
    assert "epoch   2/2  train loss" in out
    assert "rows (box split); model in" in out
    return run


def test_the_run_knows_its_problem(run, bench):
    config = read_config(run)
    assert (config.problem.name, config.recipe.width, config.split) == ("toy", 16, "box")
    assert config.problem.shape == (8, 8)
    history = read_history(run)
    assert list(history[0]) == ["epoch", "train_loss", "val_loss", "learning_rate", "seconds"]
    assert history[1]["val_loss"] < history[0]["val_loss"]


def test_scores_are_those_of_the_problem(run, bench):
    found = predict_part(run, bench.store, "test")
    scores = json.loads((run / "metrics.json").read_text())["test"]
    assert found.score() == scores
    assert list(scores["labels"]) == ["crowded", "shaken"]
    truth = found.predicted.targets["regression"][:, 0].numpy()
    error = found.predicted.outputs.mean[:, 0].numpy() - truth
    assert scores["count"]["mae"] == pytest.approx(np.abs(error).mean())
    structure, variant = found.examples.rows[found.rows].T
    expected = Dataset.open(bench.store).column("count")[structure, variant]
    np.testing.assert_array_equal(truth, expected)
    calibration = json.loads((run / "calibration.json").read_text())
    assert calibration["label_temperature"] != 1
    assert len(calibration["deviation_factors"]) == 1


def test_it_is_evaluated_and_reported_without_a_form_of_its_own(run, bench, tmp_path):
    result = invoke("evaluate", run, bench.store)
    assert result.exit_code == 0, result.output
    assert "labels, crowded, auroc" in result.stdout
    assert invoke("report", run, "-o", tmp_path / "report.html").exit_code == 0
    text = (tmp_path / "report.html").read_text()
    assert "Boxes: run toy" in text
    assert "boxes stay whole" in text


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "lack"),
    [
        (["baselines", "STORE", "--problem", "toy"], "baselines"),
        (["explain", "RUN", "STORE", "-o", "figure.svg"], "explanation"),
        (["robustness", "RUN", "STORE"], "measure of robustness"),
        (["evaluate", "RUN", "STORE", "--fit"], "fits"),
        (["export-model", "RUN", "--out", "model"], "form for export"),
        (["report", "STORE", "-o", "report.html", "--problem", "toy"], "report of a store"),
    ],
)
def test_what_it_has_not_is_told(run, bench, tmp_path, monkeypatch, arguments, lack):
    monkeypatch.chdir(tmp_path)
    names = {"RUN": run, "STORE": bench.store}
    result = invoke(*(names.get(word, word) for word in arguments))
    assert str(result.exception) == f"the problem 'toy' has no {lack}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--problem", "toy", "--scaling", "trace"], "recipes have no 'scaling'"),
        (["--problem", "toy", "--set", "widht=3"], "did you mean width?"),
        (["--problem", "toy", "--recipe", "reference"], "'reference' is not one of default"),
        (["--problem", "toy", "--split", "element"], "is not one of box"),
        (["--problem", "toys"], "there is no problem 'toys'; known are defects, toy, toy_copy"),
        ([], "is not a store with a trace"),
    ],
)
def test_mistakes_are_one_line(bench, tmp_path, options, message):
    result = invoke("train", bench.store, "--out", tmp_path / "run", *options)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_target_may_be_the_input(bench, tmp_path):
    train(bench, tmp_path / "copy", "toy_copy", "--epochs", "4")
    curve = [record["val_loss"] for record in read_history(tmp_path / "copy")]
    assert curve[-1] < curve[0]
    found = predict_part(tmp_path / "copy", bench.store, "test")
    problem = found.config.problem
    images = torch.from_numpy(Dataset.open(bench.store).read("image"))
    structure, variant = found.examples.rows[found.rows].T
    assert found.predicted.outputs.others.shape == (len(structure), 1)
    assert 0 < found.score()["error"] < float(images[structure, variant].square().mean())
    assert find_problem("toy_copy") is type(problem)


@pytest.mark.slow
def test_two_processes_follow_the_curve_of_one(run, bench, tmp_path):
    output = train(bench, tmp_path / "two", "toy", processes=2)
    assert output.count("(box split)") == 1, "only one process speaks"
    for two, one in zip(read_history(tmp_path / "two"), read_history(run), strict=True):
        for name in ("train_loss", "val_loss"):
            assert two[name] == pytest.approx(one[name], rel=1e-3)
