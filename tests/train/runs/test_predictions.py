from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
import zarr
from typer.testing import CliRunner

from train import commands
from train.data.store import Dataset
from train.fitting.loop import fit
from train.judging.calibration import fit_calibration
from train.judging.evaluation import Predicted
from train.judging.scores import score_classes
from train.models import Outputs
from train.problems.defects.examples import read_examples
from train.problems.defects.recipes import make_recipe
from train.problems.defects.scores import class_probabilities, log_prevalence, score
from train.runs.predictions import predict_part
from train.setup.distributed import World

CLASSES = ("vacancy", "self_interstitial", "substitution", "interstitial")


@pytest.fixture(scope="module")
def run(store_path, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    world = World(0, 1, torch.device("cpu"))
    fit(store_path, run, make_recipe("ideal", {"epochs": 2}), "host", 0, world)
    return run


def application() -> typer.Typer:
    app = typer.Typer()
    for command in (commands.train, commands.evaluate, commands.report):
        app.command()(command)
    return app


def test_scores_of_known_predictions():
    logits = torch.tensor([[4.0, 3, 0, 0], [3, 4, 0, 0], [0, 0, 9, 0], [5, 0, 4, 3]])
    scores = score(logits, torch.tensor([0, 0, 2, 3]), CLASSES)
    assert scores["accuracy"] == 0.5
    assert scores["top2"] == 0.75
    assert scores["n"] == 4
    assert scores["confusion"] == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    vacancy = scores["per_class"]["vacancy"]
    assert (vacancy["precision"], vacancy["recall"], vacancy["n"]) == (0.5, 0.5, 2)
    # Every bin of confidence holds one of these rows: the error is the mean distance.
    # At the prevalence of 2 : 0 : 1 : 1 the second class is no answer.
    confidence = (logits + torch.tensor([2.0, 0, 1, 1]).log()).softmax(1).amax(1).numpy()
    by_bin = [2 - confidence[0] - confidence[1], 1 - confidence[2], confidence[3]]
    assert abs(sum(abs(np.array(by_bin))) / 4 - scores["calibration"]["ece"]) < 1e-6


def test_calibration_is_that_of_classes_as_frequent_as_they_are():
    random = torch.Generator().manual_seed(0)
    target = torch.multinomial(torch.tensor([18.0, 1, 1]), 40_000, True, generator=random)
    width = torch.tensor([1.0, 2, 4])
    x = width[target] * torch.randn(len(target), generator=random)
    likelihood = torch.distributions.Normal(0, width).log_prob(x[:, None])
    assert score(likelihood, target, CLASSES[:3])["calibration"]["ece"] < 0.01
    assert score_classes(likelihood, target, CLASSES[:3])["calibration"]["ece"] > 0.1
    empty = torch.zeros(len(target), 0)
    outputs = Outputs(3 * likelihood, empty, empty, empty, empty)
    calibration = fit_calibration(Predicted(outputs, {"class": target}), log_prevalence(target, 3))
    assert calibration.temperature == pytest.approx(3, rel=0.05)


def test_evaluate_json_agrees_with_the_run(run, store_path):
    result = CliRunner().invoke(
        application(), ["evaluate", str(run), str(store_path), "--split", "test", "--json"]
    )
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)
    names = {"accuracy", "top2", "n", "per_class", "confusion", "calibration", "leakage"}
    novelty = scores.pop("novelty")["groups"]
    assert list(novelty) == ["225", "229", "all"]
    assert all(of["nearest_stretched"] <= of["nearest"] for of in novelty.values())
    assert set(scores) == names | {"fraction", "contrast"}
    assert scores == json.loads((run / "metrics.json").read_text())["test"]
    confusion = np.array(scores["confusion"])
    assert confusion.sum() == scores["n"]
    assert np.trace(confusion) == pytest.approx(scores["accuracy"] * scores["n"])
    assert confusion.sum(1).tolist() == [of["n"] for of in scores["per_class"].values()]


def test_evaluate_prints_a_table(run, store_path):
    result = CliRunner().invoke(application(), ["evaluate", str(run), str(store_path)])
    assert result.exit_code == 0
    assert "top-2" in result.stdout
    assert result.stdout.count("self_interstitial") == 2


def test_another_store_is_refused(run, tmp_path, make_store):
    other = make_store(tmp_path / "other.zarr", hosts_per_group=2)
    with pytest.raises(ValueError, match=r"other.zarr is not the store that .* was trained on"):
        predict_part(run, other, "test")


def test_scores_of_a_run_or_store_of_another_state_are_told(run, store_path, tmp_path):
    unfinished = shutil.copytree(run, tmp_path / "run")
    (unfinished / "metrics.json").unlink()
    other = shutil.copytree(store_path, tmp_path / "other.zarr")
    zarr.open_group(other).attrs["input_hash"] = "of other settings"
    result = CliRunner().invoke(application(), ["evaluate", str(unfinished), str(other)])
    assert result.exit_code == 0, result.output
    first, second = result.stderr.splitlines()
    assert first.endswith("is not finished, 2 of 2 epochs: its probabilities are raw")
    assert second.endswith("but other settings")
    assert not CliRunner().invoke(application(), ["evaluate", str(run), str(store_path)]).stderr


def test_a_damaged_split_is_named(run, store_path, tmp_path):
    damaged = shutil.copytree(run, tmp_path / "run")
    (damaged / "split.json").write_text('{"kind": "ho')
    with pytest.raises(ValueError, match=r"split\.json is damaged \(Invalid JSON"):
        predict_part(damaged, store_path, "test")


def test_other_points_of_r_are_refused(run, tmp_path, make_store):
    path = make_store(tmp_path / "shifted.zarr")
    zarr.open_group(path, mode="r+")["r"][0] = 1.4
    with pytest.raises(ValueError, match=r"shifted\.zarr has other points of r"):
        predict_part(run, path, "test")


def test_unknown_part_and_missing_run_are_refused(run, store_path, tmp_path):
    with pytest.raises(ValueError, match="'all' is not one of train, val, test"):
        predict_part(run, store_path, "all")
    with pytest.raises(ValueError, match="not a run directory"):
        predict_part(tmp_path, store_path, "test")


def test_probabilities_of_single_traces_are_those_of_the_evaluation(run, store_path):
    store = read_examples(Dataset.open(store_path))
    predictions = predict_part(run, store_path, "test")
    structure, variant = store.rows[predictions.rows].T
    g = store.data.read("g")
    probability = class_probabilities(run, g[structure, 0], g[structure, variant])
    expected = predictions.predicted.outputs.logits.softmax(1).numpy()
    np.testing.assert_allclose(probability, expected, atol=1e-5)
    with pytest.raises(ValueError, match="300 points"):
        class_probabilities(run, g[0, 0, :100], g[0, 1, :100])
