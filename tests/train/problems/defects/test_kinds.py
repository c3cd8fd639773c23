"""Runs on a store of one and of two kinds of defect at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from crystals import fcc_cif
from runs import MIXED_TOML, Bench
from typer.testing import CliRunner

from defectgen.point_defects.settings import KIND_SETS, KINDS, set_name
from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf, write_gr
from train.cli import app
from train.fitting.loop import fit
from train.measured.prediction import Prediction
from train.measured.prediction_figure import prediction_figure
from train.measured.predictor import Predictor
from train.measured.structure import Structure
from train.problems.defects.kinds import kind_probabilities, score_kinds
from train.problems.defects.recipes import make_recipe
from train.setup.distributed import World

SETS = tuple(set_name(kinds) for kinds in KIND_SETS[1:])


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    bench = Bench(tmp_path_factory.mktemp("mixed"), MIXED_TOML)
    assert bench.generate().returncode == 0
    return bench.store


@pytest.fixture(scope="module")
def run(store, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    choices = {"epochs": 1, "batch_size": 8, "variation.rmax": [9, 12]}
    fit(store, path, make_recipe("measured", choices), "host", 0, World(0, 1, torch.device("cpu")))
    return path


def test_a_kind_is_as_probable_as_the_sets_that_hold_it():
    classes = ("vacancy", "interstitial", "vacancy+interstitial", "pristine")
    probability = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    found = kind_probabilities(probability, classes)
    torch.testing.assert_close(found, torch.tensor([[0.4, 0.0, 0.0, 0.5]]))


def test_scores_of_known_kinds():
    classes = ("vacancy", "interstitial", "vacancy+interstitial")
    probability = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.7, 0.1, 0.2], [0.1, 0.1, 0.8]])
    scores = score_kinds(probability, torch.tensor([0, 1, 2, 2]), classes)
    assert list(scores) == list(KINDS)
    assert scores["vacancy"] == {
        **{"prevalence": 0.75, "precision": 1.0, "recall": 1.0, "f1": 1.0, "auroc": 1.0}
    }
    of_interstitial = scores["interstitial"]
    assert (of_interstitial["precision"], of_interstitial["recall"]) == (1.0, 2 / 3)
    assert of_interstitial["auroc"] == 1.0
    assert scores["substitution"] == {
        **{"prevalence": 0.0, "precision": 0.0, "recall": 0.0, "f1": 0.0, "auroc": None}
    }


def test_evaluation_has_the_kinds_beside_the_sets(run, store):
    out = CliRunner().invoke(app, ["evaluate", str(run), str(store), "--json"])
    assert out.exit_code == 0, out.output
    scores = json.loads(out.stdout)
    assert list(scores["per_class"]) == [*SETS, "pristine"]
    assert list(scores["per_kind"]) == list(KINDS)
    for of_kind in scores["per_kind"].values():
        # Each kind is in four of the eleven classes, of which a host has one row each.
        assert of_kind["prevalence"] == pytest.approx(4 / 11)
        assert 0 <= of_kind["auroc"] <= 1
    assert scores.pop("novelty")["groups"]["all"]["hosts"] == scores["leakage"]["hosts"]
    assert scores == json.loads((run / "metrics.json").read_text())["test"]
    text = CliRunner().invoke(app, ["evaluate", str(run), str(store)]).stdout
    assert "each kind, whatever else is there" in text
    assert "AUROC" in text


@pytest.mark.slow
def test_the_report_has_the_kinds(run, store, tmp_path):
    out = CliRunner().invoke(app, ["report", str(run), "-o", str(tmp_path / "report.html")])
    assert out.exit_code == 0, out.output
    assert "kind, whatever else is there" in (tmp_path / "report.html").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    (folder / "copper.cif").write_text(fcc_cif("Cu", 3.615, 0.006))
    frac = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    copper = AtomicStructure(np.eye(3) * 3.615, frac, ["Cu"] * 4, [0.006] * 4)
    measured = PDFParameters(rmax=31.0, qmin=0.6, qmax=24.0, qdamp=0.035, qbroad=0.012)
    write_gr(folder / "copper.gr", *calculate_pdf(copper, measured), measured)
    return folder


def test_a_prediction_has_the_kinds_beside_the_sets(run, folder):
    arguments = ["predict", str(run), "--structure", str(folder / "copper.cif")]
    out = CliRunner().invoke(app, [*arguments, str(folder / "copper.gr"), "--json"])
    assert out.exit_code == 0, out.output
    found = json.loads(out.stdout)
    assert set(found["probabilities"]) == {*SETS, "pristine"}
    for kind, probability in found["kinds"].items():
        holding = [p for name, p in found["probabilities"].items() if kind in name.split("+")]
        assert len(holding) == 4
        assert probability == pytest.approx(sum(holding))
    text = CliRunner().invoke(app, [*arguments, str(folder / "copper.gr")]).stdout
    assert "kinds, whatever else is there: vacancy" in text


@pytest.mark.parametrize("name", SETS)
def test_the_figure_has_a_fit_of_single_kinds(predicted, name):
    found = replace(predicted, opinion=replace(predicted.opinion, probabilities={name: 1.0}))
    _, _, change = prediction_figure(found).axes
    labels = [line.get_label() for line in change.lines]
    assert ("best fit of " + name.replace("_", "-") in labels) == (name in KINDS)


@pytest.fixture(scope="module")
def predicted(run, folder) -> Prediction:
    structure = Structure.read(folder / "copper.cif")
    return Predictor(run).predict(structure, folder / "copper.gr", {})
