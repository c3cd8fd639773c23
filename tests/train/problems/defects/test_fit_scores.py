"""Fits of a store of relaxed defects, in hosts that were refined against the samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from defectgen.stages.relaxed import Relaxed
from defectgen.stages.strain import Strain
from hpc.description import read_description
from hpc.executors import start_executor
from hpc.generate import generate
from train.data.store import Dataset
from train.problems.defects.errors import Errors
from train.problems.defects.examples import DefectExamples, read_examples
from train.problems.defects.fit_scores import _relaxed, fit_rows
from train.problems.defects.inputs import PairInput

DESCRIPTION = """
[library]
published_only = true
limit = 1
[defects]
kinds = ["vacancy", "self_interstitial", "interstitial"]
supercell = [4, 4, 4]
separation = 2.0
impurities = ["Al", "Sn"]
impurity_uiso = "host"
variants_per_kind = 4
fraction = [0.004, 0.012]
[[stage]]
name = "relaxed"
amplitude = [1.0, 1.0]
[pdf]
rmax = 12.0
points = 110
refine_host = true
"""


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> DefectExamples:
    """Of a store of a relaxed host."""
    folder = tmp_path_factory.mktemp("relaxed")
    (folder / "run.toml").write_text(DESCRIPTION)
    with start_executor("serial", 1) as execute:
        assert execute is not None
        generate(folder / "store.zarr", read_description(folder / "run.toml"), execute)
    return read_examples(Dataset.open(folder / "store.zarr"), absorbed=("cell", "uiso"))


def inputs_of(examples: DefectExamples) -> PairInput:
    return PairInput("shared", ("cell", "uiso"), examples.points.tolist())


def test_relaxed_defects_are_found_with_relaxed_means(examples):
    rows = np.arange(len(examples.rows))
    fits = fit_rows(examples, rows, inputs_of(examples), Errors(noise=0.005, scale=0.001))
    structure, variant = examples.rows.T
    names = [examples.classes[target] for target in examples.target]
    kinds = [max(fit, key=lambda kind, fit=fit: fit[kind].log_evidence) for fit in fits]
    assert np.mean(np.array(kinds) == names) > 0.8
    own = [fit[kind].fraction for fit, kind in zip(fits, names, strict=True)]
    found, deviation = np.array(own).T
    error = np.abs(found - examples.concentration[structure, variant])
    assert error.mean() < 1.5e-3
    assert np.mean(error < 2 * deviation) > 0.7


def test_an_uncertain_scale_makes_fits_of_vacancies_less_sure(examples):
    vacancies = np.flatnonzero(examples.target == 0)
    known, uncertain = (
        fit_rows(examples, vacancies, inputs_of(examples), Errors(scale=scale))
        for scale in (0.0, 0.01)
    )
    for one, other in zip(known, uncertain, strict=True):
        assert other["vacancy"].fraction[1] > one["vacancy"].fraction[1] + 1e-3


def test_means_are_relaxed_where_nothing_else_moves_atoms_and_hosts_were_refined(examples):
    description = read_description(None)
    relaxed = Relaxed(amplitude=(0.9, 1.1))
    with_stages = [
        description.model_copy(update={"stages": stages})
        for stages in ((), (relaxed,), (relaxed, Strain()))
    ]
    assert [_relaxed(one, examples) for one in with_stages] == [None, relaxed, None]
    not_refined = replace(examples, inputs=(examples.inputs[1], examples.inputs[1]))
    assert _relaxed(with_stages[1], not_refined) is None
