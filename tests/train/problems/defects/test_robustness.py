"""Robustness curves: what varies in them, that they repeat, and how they are shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from defectgen.point_defects.settings import DefectSettings
from hpc.observables.pdf import PDFSettings
from train.cli import app
from train.data.store import Dataset
from train.fitting.loop import fit
from train.judging.evaluation import predict
from train.problems.defects import robustness
from train.problems.defects.examples import read_examples
from train.problems.defects.figures import robustness_figure
from train.problems.defects.fresh_draws import FreshDraws
from train.problems.defects.recipes import make_recipe
from train.problems.defects.robustness import Quantity, measure_robustness, quantities_of
from train.runs.rundir import read_rows
from train.setup.distributed import World

NAMES = ["noise", "scale", "rmax", "qmax", "qdamp", "qbroad", "uiso", "strain"]
FEW = [Quantity("noise", 0.0, (0.02,)), Quantity("rmax", 12.0, (6.0,))]


@pytest.fixture(scope="module")
def run(real_store, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    changes = {"epochs": 1, "draws": "streaming", "variation.noise": [0.01, 0.03]}
    world = World(0, 1, torch.device("cpu"))
    fit(real_store, run, make_recipe("ideal", changes), "host", 0, world)
    return run


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(robustness, "quantities_of", lambda pdf: FEW)


@pytest.mark.parametrize(
    "pdf", [PDFSettings(), PDFSettings(rmax=4.0, rstep=0.1, points=25), PDFSettings(qdamp=0.0)]
)
def test_every_value_can_be_drawn_for_the_store(pdf):
    quantities = quantities_of(pdf)
    assert [quantity.name for quantity in quantities] == NAMES
    for quantity in quantities:
        assert quantity.variation(quantity.stored).ranges == {}
        assert len(quantity.values) >= 2
        for value in set(quantity.values) - {quantity.stored}:
            variation = quantity.variation(value)
            assert variation.ranges == {quantity.name: (value, value)}
            FreshDraws([], DefectSettings(), pdf, variation, 0)


def test_one_quantity_varies_at_a_time_on_the_same_defects(run, real_store, few, monkeypatch):
    drawn = []

    def keep(model, problem, source, rows, world):
        drawn.append(source.samples(rows))
        return predict(model, problem, source, rows, world)

    monkeypatch.setattr(robustness, "predict", keep)
    found = measure_robustness(run, real_store, "train")
    clean, noisy, short = drawn
    store = read_examples(Dataset.open(real_store))
    rows = read_rows(run, "train", store)
    assert found.n == len(rows) == len(clean.inputs)
    for other in (noisy, short):
        assert torch.equal(other.targets["class"], torch.from_numpy(store.target[rows]))
        assert torch.equal(other.targets["regression"], clean.targets["regression"])
    assert torch.equal(noisy.inputs[:, 0], clean.inputs[:, 0])
    structure, _ = store.rows[rows].T
    pristine = store.data.read("g")[structure, 0]
    largest = np.abs(pristine).max(1) / np.ptp(pristine, axis=1)
    noise = (noisy.inputs - clean.inputs)[:, 1] / torch.from_numpy(largest)[:, None]
    assert noise.std() == pytest.approx(0.02, rel=0.1)
    beyond = torch.from_numpy(store.points > 6)
    assert (short.inputs[:, :, beyond] == short.inputs[:, :1, -1:]).all()
    assert short.inputs[:, :, ~beyond].std(-1).min() > 0


def test_scores_repeat_and_are_not_of_the_defects_of_training(run, real_store, few):
    found = measure_robustness(run, real_store, "test")
    assert measure_robustness(run, real_store, "test") == found
    assert found.seed < 0
    noise, rmax = found.quantities.values()
    assert (noise["store"], noise["trained"]) == (0.0, (0.01, 0.03))
    assert (rmax["store"], rmax["trained"]) == (12.0, (12.0, 12.0))
    assert [scores["value"] for scores in noise["scores"]] == [0.0, 0.02]
    assert [scores["value"] for scores in rmax["scores"]] == [6.0, 12.0]
    assert noise["scores"][0] | {"value": 12.0} == rmax["scores"][1]


def test_the_figure_shows_each_curve_over_what_was_trained_on():
    scores = [{"value": x, "accuracy": 1 - 5 * x, "top2": 1.0, "ece": x} for x in (0.0, 0.02)]
    found = {"store": 0.0, "trained": (0.01, 0.03), "scores": scores}
    first, second = robustness_figure({"noise": found, "qdamp": found}).axes
    (shaded,) = first.patches
    assert (shaded.get_x(), shaded.get_width()) == pytest.approx((1, 2))
    lines = {line.get_label(): line.get_xydata() for line in first.lines}
    np.testing.assert_allclose(lines["accuracy"], [[0, 100], [2, 90]])
    np.testing.assert_allclose(lines["calibration error"], [[0, 0], [2, 2]])
    assert second.get_xlabel() == "qdamp (Å$^{-1}$)"
    np.testing.assert_allclose(second.lines[-1].get_xdata(), [0, 0.02])


def test_the_command_prints_a_table_or_json_and_draws_a_figure(run, real_store, few, tmp_path):
    arguments = ["robustness", str(run), str(real_store), "--part", "val"]
    out = tmp_path / "robustness.svg"
    table = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    assert table.exit_code == 0, table.output
    assert "calibration error" in table.stdout
    assert out.read_text().startswith("<?xml")
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert list(found["quantities"]) == ["noise", "rmax"]
    assert f"{found['quantities']['noise']['scores'][1]['accuracy']:.4f}" in table.stdout


def test_what_cannot_be_measured_or_drawn_is_refused(run, real_store, store_path, tmp_path):
    with pytest.raises(
        ValueError, match="has other points of r than the store that was trained on"
    ):
        measure_robustness(run, store_path, "test")
    toy = tmp_path / "toy"
    recipe = make_recipe("default", {"epochs": 1})
    fit(store_path, toy, recipe, "host", 0, World(0, 1, torch.device("cpu")))
    with pytest.raises(ValueError, match=r"toy\.zarr"):
        measure_robustness(toy, store_path, "test")
    for name, message in (
        ("a.txt", "must end in .svg or .png"),
        ("none/a.svg", "there is no folder"),
    ):
        command = ["robustness", str(run), str(real_store), "--out", str(tmp_path / name)]
        assert message in str(CliRunner().invoke(app, command).exception)
