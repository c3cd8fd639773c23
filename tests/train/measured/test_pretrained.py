"""The network that comes with the toolkit: that it is whole, and what its word is taken for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from defectgen.hosts.library import embedded_library
from train.fitting.loop import fit
from train.measured.analysis import NO_EVIDENCE, UNCLEAR, Analysis, KindLimit
from train.measured.limits import Bound
from train.measured.notes import notes_on_scores
from train.measured.opinion import Opinion
from train.measured.predictor import Predictor
from train.measured.pretrained import CARD, PRETRAINED, card, held_out, keep
from train.problems.defects.recipes import make_recipe
from train.run_files import CONFIG
from train.runs.rundir import read_config
from train.setup.distributed import World

KINDS = ("vacancy", "self_interstitial", "substitution", "interstitial")


def test_it_is_of_its_recipe_and_its_card_of_its_scores():
    config = read_config(PRETRAINED)
    # What a recipe leaves open is chosen by the store.
    recipe = make_recipe("pretrained").model_dump()
    chosen = {key: value for key, value in recipe.items() if value is not None}
    assert config.recipe.model_dump(include=set(chosen)) == chosen
    assert not config.split_leaks
    assert (PRETRAINED / CARD).read_text() == card(PRETRAINED)
    predictor = Predictor(PRETRAINED)
    assert predictor.problem.classes == (*KINDS, "pristine")
    assert held_out() < {host.id for host in embedded_library()}


def test_what_is_kept_of_a_run_judges_as_it_does(real_store, tmp_path):
    run, folder = tmp_path / "run", tmp_path / "kept"
    recipe = make_recipe("default", {"epochs": 1, "batch_size": 8})
    fit(real_store, run, recipe, "host", 0, World(0, 1, torch.device("cpu")))
    keep(run, real_store, folder)
    assert str(tmp_path) not in (folder / CONFIG).read_text()
    hosts = json.loads((folder / "held_out.json").read_text())
    assert 0 < len(hosts) < 20
    inputs = torch.rand(3, 2, len(read_config(run).problem.points))
    before, after = Predictor(run), Predictor(folder)
    with torch.no_grad():
        assert torch.equal(before.model(inputs), after.model(inputs))


@pytest.mark.parametrize(
    ("accuracy", "recall", "ece", "notes"),
    [
        (0.9, 0.9, 0.01, []),
        (0.7, 0.9, 0.01, ["the run finds 70% of its own test samples"]),
        (0.9, 0.4, 0.01, ["the run finds 90% of its own test samples, vacancy 40%"]),
        (0.9, 0.9, 0.08, ["the run's probabilities are off by 8% on its own test samples"]),
    ],
)
def test_a_run_with_poor_scores_says_so(accuracy, recall, ece, notes):
    scores = {
        "accuracy": accuracy,
        "per_class": {"vacancy": {"recall": recall}, "pristine": {"recall": 0.9}},
        "calibration": {"ece": ece},
    }
    assert list(notes_on_scores(scores)) == notes


def analysis(significance: dict[str, float], network: dict[str, float] | None) -> Analysis:
    """Of kinds that were found with some significance; the likelier the more significant."""
    limits = {
        kind: {"": KindLimit(Bound(0.005, 0.001, of, 0.01, of, True), 0.01, None)}
        for kind, of in significance.items()
    }
    empty = np.zeros(0)
    opinion = Opinion(network, None, None, {}, empty, empty, empty) if network else None
    unseen: Any = None
    return Analysis(Path("x.gr"), Path("x.cif"), None, unseen, limits, True, opinion, (), ())


def test_the_word_of_the_network_narrows_what_fits_and_adds_nothing():
    none = {"vacancy": 1.0, "self_interstitial": 2.0}
    some = {"vacancy": 6.0, "self_interstitial": 7.0}
    for network in (None, {"vacancy": 0.5, "self_interstitial": 0.5, "pristine": 0.0}):
        assert analysis(none, network).verdict == NO_EVIDENCE
        assert analysis(some, network).verdict == "self_interstitial or vacancy"
    sure = {"vacancy": 0.96, "self_interstitial": 0.03, "pristine": 0.01}
    assert analysis(none, sure).verdict == NO_EVIDENCE
    assert analysis(some, sure).verdict == "vacancy"
    pristine = {"vacancy": 0.01, "self_interstitial": 0.03, "pristine": 0.96}
    assert analysis(some, pristine).verdict == UNCLEAR
