"""`defectpdf predict` on computed measurements of known hosts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from crystals import fcc_cif
from typer.testing import CliRunner

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf, write_gr
from train.cli import app
from train.distributed import World
from train.loop import fit
from train.recipes import make_recipe

MEASURED = PDFParameters(
    rmax=31.0, qmin=0.6, qmax=24.0, qdamp=0.035, qbroad=0.012, delta2=1.5, scale=0.8
)


@pytest.fixture(scope="module")
def run(real_store, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "measured"
    choices = {"epochs": 1, "batch_size": 8, "variation.rmax": [9, 12]}
    recipe = make_recipe("measured", choices)
    fit(real_store, path, recipe, "host", 0, World(0, 1, torch.device("cpu")))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Copper a little larger than its CIF file says, and what is no measurement of it."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "copper.cif").write_text(fcc_cif("Cu", 3.615, 0.006))
    (folder / "argon.cif").write_text(fcc_cif("Ar", 3.615, 0.006))
    frac = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    copper = AtomicStructure(np.eye(3) * 3.63, frac, ["Cu"] * 4, [0.007] * 4)
    write_gr(folder / "copper.gr", *calculate_pdf(copper, MEASURED), MEASURED)
    particle = replace(MEASURED, spdiameter=18.0)
    write_gr(folder / "particle.gr", *calculate_pdf(copper, particle), particle)
    r, g = calculate_pdf(copper, MEASURED)
    noise = 0.02 * g.std() * np.random.default_rng(0).standard_normal(len(r))
    write_gr(folder / "vacancies.gr", r, 0.95 * g + noise, MEASURED)
    (folder / "notes.gr").write_text("measured on Monday\n")
    return folder


def predict(run: Path, folder: Path, *arguments: str, structure: str = "copper.cif"):
    own = {path.name for path in folder.iterdir()}
    files = [str(folder / name) if name in own else name for name in arguments]
    command = ["predict", str(run), "--structure", str(folder / structure), *files]
    return CliRunner().invoke(app, command)


def test_a_measurement_is_refined_and_classified(run, folder):
    result = predict(run, folder, "copper.gr", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["refinement"]["rw"] < 0.01
    assert found["refinement"]["values"]["a"] == pytest.approx(3.63, abs=2e-3)
    assert found["refinement"]["values"]["scale"] == pytest.approx(0.8, rel=0.02)
    assert found["probabilities"].keys() == {
        *("vacancy", "self_interstitial", "substitution", "interstitial", "pristine")
    }
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert found["fraction"]["deviation"] > 0
    assert found["strangeness"]["host"] >= 0
    # One epoch teaches nothing, so that there is no evidence for anything.
    assert found["verdict"] in ("pristine", "refused")


def test_what_is_fixed_stays_and_is_noted(run, folder):
    result = predict(run, folder, "copper.gr", "--fix", "scale", "--scale", "0.8", "--json")
    found = json.loads(result.stdout)
    assert found["refinement"]["values"]["scale"] == 0.8
    assert "scale" not in found["refinement"]["uncertainties"]
    assert any(note.startswith("scale:") for note in found["notes"])


def test_a_fit_knows_what_is_kept_and_no_more(run, folder):
    known, free = (
        json.loads(predict(run, folder, "vacancies.gr", "--json", *options).stdout)
        for options in (["--fix", "scale", "--scale", "0.8"], [])
    )
    fraction = known["fits"]["vacancy"]["fraction"]
    assert fraction["value"] == pytest.approx(0.05, abs=0.01)
    assert fraction["deviation"] < 0.01
    assert free["fits"]["vacancy"]["fraction"]["deviation"] > 0.02


def test_a_range_that_the_run_does_not_know_is_told(run, folder):
    result = predict(run, folder, "copper.gr", "--rmin", "15", "--rmax", "30")
    assert result.exit_code == 2
    assert (
        "the fit from 15 to 29.99 A has 0 of the run's points, which go from 1.5" in result.stderr
    )
    found = json.loads(predict(run, folder, "copper.gr", "--rmin", "3", "--json").stdout)
    assert "r begins at 3 A here and at 1.5 A in training" in found["notes"]
    found = json.loads(predict(run, folder, "copper.gr", "--rmax", "8", "--json").stdout)
    assert any(note.startswith("r ends at 7.99 A here and at 9 A") for note in found["notes"])


def test_figures_of_one_name_are_refused(run, folder, tmp_path):
    (tmp_path / "copper.gr").touch()
    result = predict(run, folder, "copper.gr", str(tmp_path / "copper.gr"), "--out", str(tmp_path))
    assert result.exit_code != 0
    assert "would both be copper.svg" in str(result.exception)


def test_a_particle_and_what_is_no_metal_are_refused(run, folder):
    particle = json.loads(predict(run, folder, "particle.gr", "--json").stdout)
    assert particle["verdict"] == "refused"
    result = predict(run, folder, "copper.gr", "--json", structure="argon.cif")
    found = json.loads(result.stdout)
    assert found["refused"]
    assert any("Ar is not one of the metals" in reason for reason in found["refusals"])


def test_one_bad_file_is_one_line_and_stops_no_other(run, folder):
    result = predict(run, folder, "notes.gr", "copper.gr", "--json")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "notes.gr" in line
    assert json.loads(result.stdout)["file"].endswith("copper.gr")


def test_the_figure_and_the_text(run, folder, tmp_path):
    result = predict(run, folder, "copper.gr", "--out", str(tmp_path / "figures"))
    assert result.exit_code == 0, result.output
    assert "host refined to Rw 0.0" in result.stdout
    figure = (tmp_path / "figures" / "copper.svg").read_text()
    assert figure.startswith("<svg")
    assert "measured - host" in figure
