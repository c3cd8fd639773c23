from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from defectgen.hosts.host import Host
from defectgen.hosts.library import write_library
from train import commands
from train.data.store import Dataset
from train.fitting.loop import fit
from train.models import build_model
from train.models.features import sine_transform
from train.problems.defects.ablation import ablate, windows
from train.problems.defects.attribution import (
    integrated_gradients,
    log_odds,
    log_odds_gain,
    network_along_q,
    network_along_r,
    points_of_q,
)
from train.problems.defects.examples import read_examples
from train.problems.defects.explanation import explain
from train.problems.defects.explanation_figure import attribution_figure
from train.problems.defects.recipes import make_recipe
from train.runs.predictions import predict_part
from train.setup.distributed import World

R = np.linspace(1.5, 30, 300)


def host_of(id: str, element: str, space_group: int) -> Host:
    shifts = {225: [np.roll((0, 0.5, 0.5), k) for k in range(3)], 229: [(0.5, 0.5, 0.5)]}
    frac = [(0, 0, 0), *shifts[space_group]]
    return Host(
        id=id,
        element=element,
        space_group=space_group,
        a=4.0,
        c=4.0,
        wyckoff=(f"{len(frac)}a",) * len(frac),
        frac=tuple(tuple(map(float, x)) for x in frac),
        uiso=0.01,
        uiso_source="debye",
        origin="published",
        source="a test",
    )


@pytest.fixture(scope="module")
def store(store_path, tmp_path_factory) -> Path:
    """The toy store with a library, as real stores have it."""
    path = shutil.copytree(store_path, tmp_path_factory.mktemp("explained") / "toy.zarr")
    toy = read_examples(Dataset.open(path))
    columns = zip(toy.id, toy.element, toy.space_group, strict=True)
    write_library(path / "library.json", [host_of(i, e, int(g)) for i, e, g in columns])
    return path


@pytest.fixture(scope="module")
def run(store, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    recipe = make_recipe("default", {"epochs": 2})
    fit(store, run, recipe, "host", 0, World(0, 1, torch.device("cpu")))
    return run


def samples(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs (count, 2, 300) whose changes differ in size as those of real defects do."""
    generator = torch.Generator().manual_seed(0)
    host = torch.rand(count, 300, generator=generator, dtype=torch.double)
    change = torch.randn(count, 300, generator=generator, dtype=torch.double)
    size = torch.logspace(-3, 0.5, count, dtype=torch.double)[:, None]
    pairs = torch.stack([host, host + size * change / change.norm(dim=1, keepdim=True)], dim=1)
    return pairs, torch.arange(count) % 4


def network_of(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build_model(name, R.tolist(), 4).double().eval()
    model.fit_inputs(samples(64)[0])
    return model


def test_log_odds_are_those_of_the_softmax():
    logits, target = torch.randn(5, 4, dtype=torch.double), torch.tensor([0, 1, 2, 3, 0])
    p = logits.softmax(1).gather(1, target[:, None]).squeeze(1)
    torch.testing.assert_close(log_odds(logits, target), torch.log(p / (1 - p)))


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("reference", "residual")),
        "reciprocal",
    ],
)
def test_attributions_sum_to_the_difference_of_the_output(name):
    model, (pairs, target) = network_of(name), samples(8)
    network = network_along_r(model, 4)
    gain = log_odds_gain(network, pairs, target)
    found = integrated_gradients(network, pairs, target)
    error = (found.sum(1) - gain).abs()
    assert error.mean() < 0.03 * gain.abs().mean()


def test_attributions_of_a_linear_network_are_its_terms():
    weight = torch.randn(300, 2, dtype=torch.double)
    pairs, _ = samples(4)
    target = torch.tensor([0, 1, 0, 1])
    found = integrated_gradients(lambda of: of[:, 1] @ weight, pairs, target)
    # Of two classes, the log-odds are the difference of the logits.
    terms = (pairs[:, 1] - pairs[:, 0]) * (weight[:, target] - weight[:, 1 - target]).T
    torch.testing.assert_close(found, terms)


def test_no_change_has_no_attribution():
    pairs, target = samples(4)
    pairs[:, 1] = pairs[:, 0]
    found = integrated_gradients(network_along_r(network_of("reciprocal"), 4), pairs, target)
    assert not found.any()


def test_the_network_along_q_is_the_same_one():
    model, (pairs, target) = network_of("reciprocal"), samples(8)
    network, of_f = network_along_q(model, 4, pairs)
    assert of_f.shape == (8, 2, len(model.features.transform))
    torch.testing.assert_close(network(of_f), model(pairs)[:, :4])
    assert model.features.transform.shape[1] == 300
    gain = log_odds_gain(network, of_f, target)
    torch.testing.assert_close(gain, log_odds_gain(network_along_r(model, 4), pairs, target))
    found = integrated_gradients(network, of_f, target)
    assert (found.sum(1) - gain).abs().mean() < 0.03 * gain.abs().mean()
    with pytest.raises(ValueError, match="sees no F"):
        network_along_q(network_of("residual"), 4, pairs)


def test_points_of_q_are_where_the_transform_has_its_peaks():
    transform = sine_transform(R.tolist())
    q = points_of_q(R.tolist(), len(transform))
    for wanted in (20, 100):
        wave = torch.sin(q[wanted] * torch.from_numpy(R))
        assert int((transform @ wave).argmax()) == wanted


def test_ablation_takes_the_change_out_and_nothing_else():
    seen = []

    def network(pairs: torch.Tensor) -> torch.Tensor:
        seen.append(pairs)
        size = (pairs[:, 1] - pairs[:, 0]).abs().sum(1)
        return torch.stack([size, torch.full_like(size, 1e-9)], dim=1)

    pairs, _ = samples(4)
    here = np.arange(300) < 100
    rows = np.stack([here, here, ~here, ~here])
    found = ablate(network, pairs, {"a": here, "rows": rows})
    left = seen[0][:, 1] - seen[0][:, 0]
    assert not left[:, :100].any()
    torch.testing.assert_close(left[:, 100:], (pairs[:, 1] - pairs[:, 0])[:, 100:])
    torch.testing.assert_close(seen[0][:, 0], pairs[:, 0])
    assert not any(predicted.any() for how in found.values() for predicted in how.values())
    nothing = ablate(network, pairs, {"all": np.ones(300, bool)})
    assert nothing["without"]["all"].tolist() == [1] * 4


def test_windows_cover_r_once():
    named = windows("r", np.linspace(1.5, 45, 400))
    assert list(named) == ["0-4 Å", "4-8 Å", "8-15 Å", "15-30 Å"]
    assert sum(of.astype(int) for of in named.values()).tolist() == [1] * 400
    assert list(windows("r", np.linspace(1.5, 7, 60))) == ["0-4 Å", "4-8 Å"]


def test_explanation_of_a_run(run, store):
    found = explain(run, store, "test", "r")
    scores = predict_part(run, store, "test").score()
    summary = found.summary()
    accuracy = summary["accuracy"]["alone"]["all"]
    assert {name: of["recall"] for name, of in scores["per_class"].items()} == pytest.approx(
        accuracy
    )
    assert summary["n"] == scores["n"]
    assert summary["completeness"]["mean_error"] < 0.05 * summary["completeness"]["mean_gain"]
    for of in summary["per_class"].values():
        for key in ("points", "change", "attribution"):
            assert sum(region[key] for region in of["regions"].values()) == pytest.approx(1)
    types = found.structure_types(3)
    assert list(types) == ["225, 4a", "229, 2a"] or list(types) == ["229, 2a", "225, 4a"]
    assert sorted(k for of in types.values() for k in of) == list(range(len(found.hosts)))
    panels = attribution_figure(found).axes
    assert len(panels) == 2 * len(summary["per_class"])


def invoke(*arguments: object):
    app = typer.Typer()
    app.command()(commands.explain)
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.slow
def test_command_writes_a_figure_and_numbers(run, store, tmp_path):
    result = invoke(run, store, "-o", tmp_path / "figure.png", "--along", "q", "--json")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads(result.stdout)
    assert summary["along"] == "q"
    regions = summary["per_class"]["vacancy"]["regions"]
    assert list(regions) == ["in phase", "out of phase", "both", "neither"]
    assert not math.isnan(summary["accuracy"]["without"]["0-4 1/Å"]["vacancy"])


@pytest.mark.slow
def test_command_prints_tables(run, store, tmp_path):
    result = invoke(run, store, "-o", tmp_path / "figure.svg", "--part", "val")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "figure.svg").read_text().startswith("<?xml")
    assert "val part" in result.stdout
    assert "host shells" in result.stdout
    assert "accuracy (%) with the change alone" in result.stdout


def test_mistakes_are_told_before_anything_is_computed(run, store_path, store, tmp_path):
    with pytest.raises(ValueError, match=r"figure\.jpg: .* must end in \.svg or \.png"):
        commands.explain(run, store, tmp_path / "figure.jpg")
    with pytest.raises(ValueError, match=r"cannot read the library .*library\.json"):
        explain(run, store_path, "test", "r")
    other = shutil.copytree(store, tmp_path / "other.zarr")
    hosts = [host_of(f"x{k}", "Cu", 225) for k in range(len(read_examples(Dataset.open(other)).id))]
    write_library(other / "library.json", hosts)
    with pytest.raises(ValueError, match=r"library\.json does not hold the hosts of the store"):
        explain(run, other, "test", "r")
