"""Samples that are not quite what a run was trained on, and a network of one epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from runs import RELAXED_TOML, Bench

from benchmarks.studies import mismatches
from train.fitting.loop import fit
from train.problems.defects.recipes import make_recipe
from train.setup.distributed import World


@pytest.mark.slow
def test_each_sample_is_made_with_one_mismatch_and_judged(tmp_path):
    bench = Bench(tmp_path, RELAXED_TOML)
    out = bench.generate("--limit", "40")
    assert out.returncode == 0, out.stderr
    alone = World(0, 1, torch.device("cpu"))
    recipe = make_recipe("default", {"epochs": 1})
    fit(bench.store, tmp_path / "run", recipe, "host", 0, alone)
    found = list(mismatches.lines(tmp_path / "run", bench.store))
    names = [line["what"] for line in found]
    assert len(set(names)) == len(names)
    assert {"as in the store", "cell +0.1 %", "on their sites", "noise 0 % of the rms"} <= set(
        names
    )
    for line in found:
        assert list(line["recall"])[-1] == "pristine"
        assert 0 <= line["accuracy"] <= 1


def test_a_line_counts_by_class():
    samples = mismatches.Samples(
        np.empty((4, 0)), np.empty((4, 0)), np.array([0, 1, 1, 2]), np.empty((4, 2))
    )
    classes = ("vacancy", "substitution", "pristine")
    said = np.array(["pristine", "vacancy", "pristine", "vacancy"])
    line = mismatches.line("name", samples, said, classes)
    assert line == {
        "what": "name",
        "accuracy": 0.5,
        "recall": {"vacancy": 0.5, "substitution": 0.0, "pristine": 1.0},
    }
