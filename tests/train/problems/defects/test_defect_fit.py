"""Fits of fractions and elements to G(r) of drawn defects."""

from __future__ import annotations

import json
import tracemalloc
from functools import cache

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import KINDS, DefectSettings
from hpc.observables.pdf import PDFSettings
from train.cli import app
from train.fitting.loop import fit as train_run
from train.problems.defects.defect_fit import DefectFit
from train.problems.defects.inputs import ABSORBABLE, PairInput
from train.problems.defects.recipes import make_recipe
from train.problems.defects.streaming import VariantStream
from train.setup.distributed import World

PDF = PDFSettings(rmax=15.0, points=140)
DEFECTS = DefectSettings(supercell=(4, 4, 4), impurities=("Li", "Al", "Ag", "Pb", "U"))
SHARED = PairInput("shared")
PER_KIND = 5


@cache
def host_of(element: str) -> Host:
    return next(host for host in embedded_library() if host.element == element)


@cache
def drawn(element: str) -> tuple[np.ndarray, np.ndarray, list[float], list[str | None]]:
    """G(r) of a host and of its defects, kind by kind; fractions and impurities of these."""
    stream = VariantStream([host_of(element)], DEFECTS, PDF)
    label = np.append(0, np.repeat(np.arange(4) + 1, PER_KIND))
    g, rows = stream.draw(0 * label, label, torch.arange(len(label)))
    variants = [stream.draws.variant(rows, row) for row in range(1, len(label))]
    fractions = [variant.concentration for variant in variants]
    return (*_split(g), fractions, [variant.impurity for variant in variants])


def _split(g: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    return g[0].double().numpy(), g[1:].double().numpy()


@pytest.mark.parametrize("element", ["Cu", "Zr", "W"])
def test_kind_fraction_and_element_are_found(element):
    pristine, defective, fractions, impurities = drawn(element)
    found = DefectFit(host_of(element), DEFECTS, PDF, SHARED)(pristine, defective)
    kinds = np.repeat(KINDS, PER_KIND).tolist()
    likeliest = [max(fits, key=lambda kind: fits[kind].log_evidence) for fits in found]
    assert np.mean(np.array(likeliest) == kinds) >= 0.95
    own = [fits[kind] for fits, kind in zip(found, kinds, strict=True)]
    medians, deviations = np.array([fit.fraction for fit in own]).T
    assert np.abs(medians - fractions).mean() < 2e-3
    assert (deviations > 0).all()
    right = [
        next(iter(fit.elements)) == impurity
        for fit, impurity in zip(own, impurities, strict=True)
        if impurity
    ]
    assert np.mean(right) >= 0.9
    assert all(not fit.elements for fit, kind in zip(own, kinds, strict=True) if kind == KINDS[0])


def test_light_elements_are_found_on_their_sites():
    """Of mixed impurities; none of them is taken for a substitution."""
    defects = DEFECTS.model_copy(update={"impurities": ("Ag", "H", "C", "O")})
    stream = VariantStream([host_of("Cu")], defects, PDF)
    label = np.append(0, np.repeat([3, 4], 12))
    g, rows = stream.draw(0 * label, label, torch.arange(len(label)))
    fits = DefectFit(host_of("Cu"), defects, PDF, SHARED)(*_split(g))
    for row, of_row in enumerate(fits, start=1):
        variant = stream.draws.variant(rows, row)
        kind = KINDS[variant.label - 1]
        assert list(of_row["substitution"].elements) == ["Ag"]
        assert max(of_row, key=lambda one: of_row[one].log_evidence) == kind
        assert next(iter(of_row[kind].elements)) == variant.impurity


def test_a_host_that_is_the_only_impurity_has_no_such_kinds():
    pristine, defective, _, _ = drawn("Cu")
    only = DEFECTS.model_copy(update={"impurities": ("Cu",)})
    (fits,) = DefectFit(host_of("Cu"), only, PDF, SHARED)(pristine, defective[:1])
    assert list(fits) == ["vacancy", "self_interstitial"]


def test_the_change_of_the_best_fit_is_that_of_the_trace():
    pristine, defective, _, _ = drawn("Cu")
    interstitial = defective[-1]
    (fits,) = DefectFit(host_of("Cu"), DEFECTS, PDF, SHARED)(pristine, interstitial[None])
    left = interstitial - pristine - fits["interstitial"].change
    assert np.linalg.norm(left) < 0.2 * np.linalg.norm(interstitial - pristine)


def test_a_fit_keeps_nothing_large_alive():
    pristine, defective, _, _ = drawn("Cu")
    fit = DefectFit(host_of("Cu"), DEFECTS, PDF, SHARED)
    fits = fit(pristine, defective)  # and with it the means of all kinds
    tracemalloc.start()
    fits += fit(pristine, defective)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2 * sum(one.change.nbytes for one in fits[0].values()) * len(fits)


def test_noise_makes_a_fit_less_sure():
    pristine, defective, _, _ = drawn("Cu")
    fit = DefectFit(host_of("Cu"), DEFECTS, PDF, SHARED)
    noise = np.random.default_rng(0).normal(size=defective.shape) * np.abs(pristine).max()
    deviations = [
        np.mean([of["substitution"].fraction[1] for of in fit(pristine, defective + size * noise)])
        for size in (0.003, 0.03)
    ]
    assert deviations[1] > 1.5 * deviations[0]


def test_what_a_refinement_takes_up_and_what_lies_outside_change_nothing():
    pristine, defective, _, _ = drawn("Zr")
    r = PDF.parameters.r[PDF.stored]
    fit = DefectFit(host_of("Zr"), DEFECTS, PDF, PairInput("shared", ABSORBABLE, r.tolist()))
    pristine, defective = pristine * (r < 12), defective[-3:]
    (before, *_), (after, *_) = (
        fit(pristine, defective + 0.01 * pristine * size + 5 * (r >= 12) * size) for size in (0, 1)
    )
    for kind in KINDS:
        assert after[kind].fraction == pytest.approx(before[kind].fraction)
        assert after[kind].log_evidence == pytest.approx(before[kind].log_evidence, abs=1e-6)
        assert not after[kind].change[r >= 12].any()


def test_without_a_scale_nor_repeats_vacancies_cannot_be_counted():
    pristine, defective, _, _ = drawn("Cu")
    vacancies = defective[:PER_KIND]
    known = DefectFit(host_of("Cu"), DEFECTS, PDF, SHARED, repeated=False)
    free = DefectFit(host_of("Cu"), DEFECTS, PDF, PairInput("trace"), repeated=False)
    of_known, of_free = (
        [fits["vacancy"].fraction[1] for fits in fit(pristine, vacancies)] for fit in (known, free)
    )
    assert max(of_known) < 1e-3
    # That of any fraction up to 10 % being as likely.
    assert min(of_free) > 0.9 * 0.1 / 12**0.5


def test_evaluate_fits_on_demand(real_store, tmp_path):
    run, world = tmp_path / "run", World(0, 1, torch.device("cpu"))
    train_run(real_store, run, make_recipe("default", {"epochs": 1}), "host", 0, world)
    command = ["evaluate", str(run), str(real_store)]
    result = CliRunner().invoke(app, [*command, "--fit", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["fit"]
    assert found["n"] > 0
    assert found["accuracy"] > 0.9
    assert found["fraction"]["mae"] < 0.005
    text = CliRunner().invoke(app, [*command, "--fit"]).stdout
    assert "kind right for" in text
    assert "kind right for" not in CliRunner().invoke(app, command).stdout
