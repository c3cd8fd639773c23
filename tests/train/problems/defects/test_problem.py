"""What the defects problem takes of stores of G(r) and of other traces, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from typer.testing import CliRunner

from tests.support.runs import TOML, Bench
from train.cli import app
from train.data.store import Dataset
from train.fitting.loop import fit
from train.problems.defects import PLUG_IN as Defects
from train.problems.defects.fresh_draws import FreshDraws, Variation
from train.problems.defects.recipes import make_recipe
from train.runs.rundir import read_config
from train.setup.distributed import World

TWO_THETA = np.linspace(10, 90, 300)


def write_pattern(store: Path, name: str = "intensity") -> None:
    """Beside or in place of G(r) a trace of another axis, as a powder pattern is one."""
    group = zarr.open_group(store, mode="r+")
    g = group["g"]
    group.create_array(
        name,
        data=np.asarray(g) + 20,
        chunks=g.chunks,
        dimension_names=("structure", "variant", "two_theta"),
        attributes={"long_name": "powder diffraction pattern", "units": "1"},
    )
    if "two_theta" not in group:
        group.create_array(
            "two_theta",
            data=TWO_THETA,
            dimension_names=("two_theta",),
            attributes={"long_name": "scattering angle", "units": "degree"},
        )


@pytest.fixture(scope="module")
def patterns(store_path, tmp_path_factory) -> Path:
    """The toy store with `intensity` in place of `g`."""
    path = shutil.copytree(store_path, tmp_path_factory.mktemp("powder") / "patterns.zarr")
    write_pattern(path)
    group = zarr.open_group(path, mode="r+")
    del group["g"], group["r"]
    return path


@pytest.fixture(scope="module")
def run(patterns, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    result = CliRunner().invoke(
        app, ["train", str(patterns), "--out", str(run), "--epochs", "3", "--seed", "1"]
    )
    assert result.exit_code == 0, result.output
    assert "traces (host split)" in result.stdout
    return run


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_same_command_learns_from_another_trace(run):
    problem = read_config(run).problem
    assert (problem.trace.array, problem.trace.axis) == ("intensity", "two_theta")
    assert (problem.recipe.model, problem.recipe.stretch) == ("residual", 0.0)
    assert problem.points == tuple(TWO_THETA)
    assert json.loads((run / "metrics.json").read_text())["test"]["accuracy"] > 0.4


@pytest.mark.slow
def test_reports_and_programs_name_what_the_store_names(run, patterns, tmp_path):
    assert invoke("report", run, "-o", tmp_path / "run.html").exit_code == 0
    assert invoke("report", patterns, "-o", tmp_path / "store.html").exit_code == 0
    for page in ("run.html", "store.html"):
        text = (tmp_path / page).read_text()
        assert "powder diffraction pattern" in text
        assert "scattering angle (degree)" in text
        assert "G(r)" not in text.replace("Point defects from PDFs", "")
    card = json.loads(invoke("export-model", run, "--out", tmp_path / "model", "--json").stdout)
    assert card["input"]["two_theta"]["values"] == TWO_THETA.tolist()
    n = json.loads((run / "metrics.json").read_text())["test"]["n"]
    assert f"traces {n}" in invoke("evaluate", run, patterns).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "RUN", "STORE", "-o", "figure.svg"],
        ["robustness", "RUN", "STORE"],
        ["evaluate", "RUN", "STORE", "--fit"],
    ],
)
def test_what_takes_a_pdf_is_refused(run, patterns, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"RUN": run, "STORE": patterns}
    result = invoke(*(names.get(word, word) for word in arguments))
    assert "intensity: it takes G(r), the array g" in str(result.exception)


def test_a_run_on_another_trace_predicts_no_measured_pdf(run, tmp_path):
    result = invoke("predict", run, "a.gr", "--structure", "a.cif")
    assert "was not trained to tell defects by G(r)" in str(result.exception)


@pytest.mark.parametrize(
    ("options", "choice"),
    [
        (["--draws", "streaming"], "draws"),
        (["--recipe", "measured"], "absorbed"),
        (["--set", 'absorbed=["scale"]'], "absorbed"),
        (["--set", "model=reciprocal"], "model"),
    ],
)
def test_choices_that_take_a_pdf_are_refused(patterns, tmp_path, options, choice):
    result = invoke("train", patterns, "--out", tmp_path / "run", *options)
    assert f"'s {choice} takes G(r)" in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_the_trace_is_chosen_where_there_are_several(store_path, tmp_path):
    path = shutil.copytree(store_path, tmp_path / "both.zarr")
    write_pattern(path)
    data = Dataset.open(path)
    assert Defects.of(data, make_recipe("default")).trace.array == "g"
    chosen = Defects.of(data, make_recipe("default", {"observable": "intensity"}))
    assert (chosen.trace.array, chosen.recipe.model) == ("intensity", "residual")
    group = zarr.open_group(path, mode="r+")
    del group["g"]
    with pytest.raises(ValueError, match="has no trace 'g', but intensity"):
        Defects.of(Dataset.open(path), make_recipe("default", {"observable": "g"}))


def test_several_other_traces_leave_the_choice_open(patterns, tmp_path):
    path = shutil.copytree(patterns, tmp_path / "two.zarr")
    group = zarr.open_group(path, mode="r+")
    intensity = group["intensity"]
    dims = ("structure", "variant", "two_theta")
    group.create_array("background", data=np.asarray(intensity), dimension_names=dims)
    with pytest.raises(ValueError, match="choose one of background, intensity by --set observable"):
        Defects.of(Dataset.open(path), make_recipe("default"))
    del group["background"], group["intensity"]
    with pytest.raises(ValueError, match=r"two\.zarr is not a store with a trace"):
        Defects.of(Dataset.open(path), make_recipe("default"))


def test_one_class_alone_is_refused(store_path, tmp_path):
    path = shutil.copytree(store_path, tmp_path / "vacancies.zarr")
    label = zarr.open_group(path, mode="r+")["label"]
    label[:] = np.where(label[:] > 1, -1, label[:])
    result = invoke("train", path, "--out", tmp_path / "run", "--recipe", "ideal")
    assert "has PDFs of vacancy only" in str(result.exception)
    assert "--set pristine=true" in str(result.exception)


def test_a_run_of_an_older_version_is_told_from_a_damaged_one(store_path, tmp_path):
    run = tmp_path / "run"
    recipe = make_recipe("default", {"epochs": 1})
    fit(store_path, run, recipe, "host", 0, World(0, 1, torch.device("cpu")))
    config = json.loads((run / "config.json").read_text())
    problem = config.pop("problem")
    old = {"recipe": problem["recipe"], "classes": problem["classes"], "r": problem["points"]}
    (run / "config.json").write_text(json.dumps(config | old))
    main = "from train.cli import main; main()"
    out = subprocess.run(
        [sys.executable, "-c", main, "evaluate", run, store_path], capture_output=True, text=True
    )
    assert (out.returncode, out.stderr.count("\n")) == (2, 1)
    assert "it is of an older version of defectpdf): put it back, or train again" in out.stderr


def test_fresh_draws_of_relaxed_samples_are_refused(tmp_path):
    bench = Bench(tmp_path, TOML + '[[stage]]\nname = "relaxed"\n')
    done = bench.generate("--limit", "4")
    assert done.returncode == 0, done.stderr
    result = invoke("train", bench.store, "--out", tmp_path / "run", "--draws", "streaming")
    assert "its samples were changed by relaxed, and fresh draws have" in str(result.exception)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="changed by relaxed"):
        FreshDraws.of_store(bench.store, Variation(), 0)


@pytest.mark.slow
@pytest.mark.parametrize("draws", ["store", "streaming"])
def test_stores_of_light_impurities_are_learned_from(tmp_path, draws):
    bench = Bench(tmp_path)
    light = '[defects]\nfraction = [0.05, 0.3]\nkinds = ["vacancy", "interstitial"]\n'
    light += 'impurities = ["H", "C"]'
    bench.run_toml.write_text(TOML.replace("[defects]", light))
    out = bench.generate()
    assert out.returncode == 0, out.stderr
    arguments = ["train", str(bench.store), "--out", str(tmp_path / "run"), "--epochs", "1"]
    recipe = ["--recipe", "ideal", "--draws", draws]
    result = CliRunner().invoke(app, [*arguments, *recipe])
    assert result.exit_code == 0, result.output
    evaluate = ["evaluate", str(tmp_path / "run"), str(bench.store), "--json", "--fit"]
    scores = CliRunner().invoke(app, evaluate)
    assert scores.exit_code == 0, scores.output
    assert json.loads(scores.stdout)["fit"]["accuracy"] > 0.9
