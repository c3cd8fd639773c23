"""Exported models: used by torch alone, rebuilt from the card, and refused where they must be."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from train.cli import app
from train.data.store import Dataset
from train.fitting.loop import fit
from train.judging.calibration import Calibration
from train.models import Layout, build_model
from train.problems.defects.examples import read_examples
from train.problems.defects.inputs import ABSORBABLE, PairInput
from train.problems.defects.program import Classifier
from train.problems.defects.recipes import make_recipe
from train.problems.defects.scores import class_probabilities
from train.problems.defects.sections import caveats_of
from train.runs.export import export_model
from train.runs.report import leak_warning
from train.runs.rundir import read_config
from train.setup.distributed import World

FILES = ["model.json", "model.pt2", "model.safetensors"]
# Runs where none of the project's packages can be imported.
USE_ALONE = """
import sys
for name in ("train", "hpc", "pdfcalc", "defectgen"):
    sys.modules[name] = None
import numpy, torch
program, traces, out = sys.argv[1:]
classify = torch.export.load(program).module()
with numpy.load(traces) as pair:
    for n in (1, 7):
        inputs = (torch.from_numpy(pair[name][:n]) for name in ("pristine", "defective"))
        numpy.save(f"{out}{n}.npy", classify(*inputs).numpy())
"""


RECIPES = {
    "default": make_recipe("default", {"epochs": 1}),
    "refined": make_recipe("default", {"epochs": 1, "absorbed": ABSORBABLE}),
    "reference": make_recipe("reference", {"epochs": 1}),
}


def make_run(store_path: Path, run: Path, recipe: str, split: str = "host") -> Path:
    fit(store_path, run, RECIPES[recipe], split, 0, World(0, 1, torch.device("cpu")))
    return run


@pytest.fixture(
    scope="module",
    params=[
        "default",
        *(pytest.param(p, marks=pytest.mark.slow) for p in ("refined", "reference")),
    ],
)
def run(request, store_path, tmp_path_factory) -> Path:
    return make_run(store_path, tmp_path_factory.mktemp("runs") / request.param, request.param)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "new" / run.name
    export_model(run, folder)
    return folder


@pytest.fixture(scope="module")
def traces(store_path) -> tuple[np.ndarray, np.ndarray]:
    """Seven pairs of un-normalised G(r), (7, 300) each."""
    store = read_examples(Dataset.open(store_path))
    structure, variant = store.rows[:: len(store.rows) // 7][:7].T
    g = store.data.read("g")
    return g[structure, 0], g[structure, variant]


@pytest.mark.slow
def test_the_program_gives_the_probabilities_without_this_project(run, exported, traces, tmp_path):
    np.savez(tmp_path / "traces.npz", pristine=traces[0], defective=traces[1])
    arguments = (exported / "model.pt2", tmp_path / "traces.npz", tmp_path / "probability")
    out = subprocess.run(
        [sys.executable, "-I", "-c", USE_ALONE, *arguments],
        cwd=tmp_path,
        env={"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    for n in (1, 7):
        found = np.load(tmp_path / f"probability{n}.npy")
        expected = class_probabilities(run, traces[0][:n], traces[1][:n])
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_weights_and_card_rebuild_the_model(run, exported, traces):
    card = json.loads((exported / "model.json").read_text())
    model = build_model(r=card["input"]["r"]["values"], **card["architecture"])
    model.load_state_dict(load_file(exported / "model.safetensors"))
    assert card["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    r, absorbed = card["input"]["r"]["values"], card["absorbed"]["names"]
    inputs = PairInput(card["scaling"]["name"], absorbed, r)
    layout = Layout(len(card["classes"]), regressions=model.regressions)
    calibration = Calibration(**card["calibration"])
    classifier = Classifier(model, inputs, layout, calibration).eval()
    with torch.no_grad():
        found = classifier(*map(torch.from_numpy, traces))
    np.testing.assert_allclose(found, class_probabilities(run, *traces), atol=1e-5)


def test_the_card_describes_the_run(run, exported, store_path):
    card = json.loads((exported / "model.json").read_text())
    store, config = read_examples(Dataset.open(store_path)), read_config(run)
    assert card["classes"] == [*store.classes, *(["pristine"] if config.recipe.pristine else [])]
    grid = card["input"]["r"]
    assert (grid["first"], grid["last"], grid["points"]) == (1.5, 30.0, 300)
    assert grid["step"]["smallest"] == grid["step"]["largest"] == round(28.5 / 299, 6)
    assert grid["values"] == store.points.tolist()
    training = card["training"]
    assert (training["store"], training["fingerprint"]) == ("toy.zarr", store.fingerprint)
    assert (training["split"]["kind"], training["seed"]) == ("host", 0)
    assert training["recipe"] == config.recipe.model_dump(mode="json")
    metrics = json.loads((run / "metrics.json").read_text())
    assert (card["scores"]["val"], card["scores"]["test"]) == (metrics["val"], metrics["test"])
    assert card["caveats"] == list(caveats_of(store.trace, config.recipe))
    assert card["versions"]["export"]["torch"] == torch.__version__


def test_the_files_are_those_of_the_card_and_tell_nothing_of_this_machine(exported, store_path):
    assert sorted(path.name for path in exported.iterdir()) == FILES
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]
    card = json.loads((exported / "model.json").read_text())
    project = str(Path(__file__).parents[3]).encode()
    for path in exported.iterdir():
        content = path.read_bytes()
        assert card["sha256"].get(path.name, "") in ("", hashlib.sha256(content).hexdigest())
        assert project not in content
        assert str(store_path.parent).encode() not in content
    assert list(card["sha256"]) == ["model.safetensors", "model.pt2"]


def test_the_same_run_gives_the_same_files(run, exported, tmp_path):
    (tmp_path / "again").mkdir()  # an empty folder is as good as a new one
    export_model(run, tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes()


def test_a_split_by_row_is_said_to_leak(store_path, tmp_path):
    run = make_run(store_path, tmp_path / "run", "default", split="row")
    result = CliRunner().invoke(
        app, ["export-model", str(run), "--out", str(tmp_path / "model"), "--json"]
    )
    assert result.exit_code == 0, result.output
    card = json.loads(result.stdout)
    assert card == json.loads((tmp_path / "model" / "model.json").read_text())
    assert card["caveats"][0] == leak_warning(read_config(run))


def test_a_folder_in_use_and_an_unfinished_run_are_refused(run, exported, tmp_path):
    before = (exported / "model.json").stat().st_mtime_ns
    with pytest.raises(ValueError, match="is in use: choose a new or an empty folder"):
        export_model(run, exported)
    assert (exported / "model.json").stat().st_mtime_ns == before
    (tmp_path / "config.json").write_bytes((run / "config.json").read_bytes())
    with pytest.raises(ValueError, match=r"is not finished: it has no metrics\.json; run the same"):
        export_model(tmp_path, tmp_path / "model")


def test_a_failure_leaves_nothing(run, tmp_path):
    damaged = tmp_path / "run"
    damaged.mkdir()
    for name in ("config.json", "metrics.json"):
        (damaged / name).write_bytes((run / name).read_bytes())
    (damaged / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        export_model(damaged, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
