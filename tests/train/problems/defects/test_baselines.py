from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC
from typer.testing import CliRunner

from train.data.leakage import make_split
from train.data.store import Dataset
from train.judging import baselines
from train.problems.defects import PLUG_IN as Defects
from train.problems.defects.baselines import ON_AMPLITUDES, pair_columns
from train.problems.defects.examples import read_examples
from train.problems.defects.recipes import make_recipe

QUICK = {
    "naive Bayes": lambda seed: GaussianNB(),
    "logistic regression": lambda seed: LogisticRegression(max_iter=200),
    "support vector machine": lambda seed: SVC(C=10.0),
}
"""One of the kinds that differ for us: with probabilities, and without."""


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("train.problems.defects.baselines.METHODS", QUICK)


def test_columns_hold_all_of_a_pair():
    pairs = torch.rand(5, 2, 30)
    columns = torch.from_numpy(pair_columns(pairs))
    pristine, change, size = columns[:, :30], columns[:, 30:60], columns[:, 60:].exp()
    torch.testing.assert_close(pristine, pairs[:, 0])
    torch.testing.assert_close(pristine + size * change, pairs[:, 1])
    torch.testing.assert_close(change.norm(dim=1), torch.ones(5))
    assert np.isfinite(pair_columns(torch.ones(1, 2, 30))).all()


def test_every_method_has_its_seed_and_probabilities_of_all_classes():
    random = np.random.default_rng(0)
    target = np.repeat([0, 2, 3], 40)
    columns = random.normal(size=(120, 5)) + target[:, None]
    for name, make in baselines.METHODS.items():
        if name == "support vector machine":
            continue
        model = make(0).fit(columns, target)
        probability = baselines.log_probabilities(model, columns, 4).softmax(1)
        assert probability.shape == (120, 4)
        assert float(probability[:, 1].max()) < 1e-6, name
        np.testing.assert_allclose(
            probability[:, [0, 2, 3]], model.predict_proba(columns), atol=1e-6
        )
        again = make(0).fit(columns, target).predict_proba(columns)
        np.testing.assert_array_equal(again, model.predict_proba(columns), err_msg=name)


@pytest.mark.slow
def test_they_learn_on_the_networks_split_and_are_scored_alike(store_path, quick):
    data = Dataset.open(store_path)
    problem = Defects.of(data, make_recipe("ideal", {"scaling": "shared"}))
    found = problem.baselines(data, "element", 1)
    store = read_examples(data)
    split = make_split(store, "element", 1)
    assert found["leakage"] == split.leakage["test"]
    assert found["fingerprint"] == store.fingerprint
    assert list(found["methods"]) == [*QUICK, *ON_AMPLITUDES]
    for scores in found["methods"].values():
        assert scores["n"] == len(split.rows["test"])
        assert np.trace(scores["confusion"]) == pytest.approx(scores["accuracy"] * scores["n"])
        assert scores["calibration"]["ece"] < 1
    assert found["methods"]["logistic regression"]["accuracy"] > 0.8
    assert found["methods"]["support vector machine"]["accuracy"] > 0.8


def test_the_command_prints_a_table_or_json(store_path, quick):
    from train.cli import app

    command = ["baselines", str(store_path), "--split", "space_group:229", "--scaling", "trace"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "space_group:229 split, trace scaling, seed 0" in result.stdout
    assert "support vector machine" in result.stdout
    found = json.loads(CliRunner().invoke(app, [*command, "--json", "--recipe", "ideal"]).stdout)
    assert len(found["methods"]["naive Bayes"]["per_class"]) == 4
    assert list(found["methods"]) == list(QUICK), "each trace has a scale of its own"
    assert (found["split"], found["scaling"], found["seed"]) == ("space_group:229", "trace", 0)
    refused = CliRunner().invoke(app, ["baselines", str(store_path), "--split", "file"])
    assert "not one of host" in str(refused.exception)
