"""`defectpdf predict` on computed measurements of known hosts."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from crystals import fcc_cif
from runs import TOML, Bench
from typer.testing import CliRunner

from defectgen.point_defects.settings import DefectSettings
from defectgen.samples import Resources
from defectgen.sources.defects import Defects
from defectgen.stages.relaxed import Relaxed
from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf, read_gr, write_gr
from train.cli import app
from train.fitting.loop import fit
from train.judging.familiarity import FAMILIARITY
from train.measured.notes import notes_on_fit
from train.measured.predictor import Predictor
from train.measured.structure import Structure
from train.problems.defects.recipes import make_recipe
from train.runs.rundir import MODEL
from train.setup.distributed import World

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


def test_points_as_far_apart_as_can_be_leave_no_more_than_others(run, folder, tmp_path):
    fine = read_gr(folder / "copper.gr")
    r = np.arange(1.5, 30.0, np.pi / MEASURED.qmax)
    write_gr(tmp_path / "coarse.gr", r, np.interp(r, fine.r, fine.g), MEASURED)
    copper = Structure.read(folder / "copper.cif")
    for file in (folder / "copper.gr", tmp_path / "coarse.gr"):
        found = Predictor(run).predict(copper, file, {})
        seen = found.opinion
        left = np.linalg.norm(seen.measured - seen.calculated)
        assert left < 0.02 * np.linalg.norm(seen.calculated)


def test_the_host_is_refined_in_its_standard_cell(run, tmp_path):
    order = [2, 0, 1]  # of the file's axes
    zinc = {"elements": ["Zn"] * 2, "uiso": [0.008] * 2}
    frac = np.array([[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]])
    half, height = 2.66 / 2, 2.66 * 0.75**0.5
    lattice = [[2.66, 0, 0], [-half, height, 0], [0, 0, 4.95]]
    r, g = calculate_pdf(AtomicStructure(lattice, frac, **zinc), MEASURED)
    write_gr(tmp_path / "zinc.gr", r, g, MEASURED)
    lengths, angles = np.array([2.64, 2.64, 5.0]), np.array([90, 90, 120])
    cell = [*zip("abc", lengths[order], strict=True)]
    tilts = [*zip(("alpha", "beta", "gamma"), angles[order], strict=True)]
    atoms = "".join(f"Zn {x:.6f} {y:.6f} {z:.6f} 0.008\n" for x, y, z in frac[:, order])
    (tmp_path / "zinc.cif").write_text(
        "data_zinc\n"
        + "".join(f"_cell_length_{axis} {length}\n" for axis, length in cell)
        + "".join(f"_cell_angle_{angle} {value}\n" for angle, value in tilts)
        + "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\nloop_\n_atom_site_label\n"
        + "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
        + "_atom_site_U_iso_or_equiv\n"
        + atoms
    )
    zinc_host = Structure.read(tmp_path / "zinc.cif")
    found = Predictor(run).predict(zinc_host, tmp_path / "zinc.gr", {})
    assert found.host is not None
    assert (found.host.a, found.host.c) == pytest.approx((2.66, 4.95), abs=2e-3)


def test_what_does_not_look_like_the_structure_is_told(run, folder, tmp_path):
    (tmp_path / "small.cif").write_text(fcc_cif("Cu", 3.53, 0.006))
    arguments = ("copper.gr", "--json")
    found = json.loads(predict(run, folder, *arguments, structure=tmp_path / "small.cif").stdout)
    assert any(note.startswith("a is 3.63 A here and 3.53 A in ") for note in found["notes"])
    kept = [option for name in ("cell", "uiso", "scale") for option in ("--fix", name)]
    result = predict(run, folder, *arguments, *kept, structure=tmp_path / "small.cif")
    found = json.loads(result.stdout)
    assert any("misses the measurement, Rw " in reason for reason in found["refusals"])
    assert any(note.startswith("Rw is ") for note in found["notes"])


def test_a_name_that_can_not_be_kept_is_refused_once(run, folder):
    result = predict(run, folder, "copper.gr", "vacancies.gr", "--fix", "a")
    assert result.exit_code != 0
    assert str(result.exception).startswith("a can't be kept: one of scale, cell,")


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


def test_a_damaged_run_is_named(run, folder, tmp_path):
    damaged = shutil.copytree(run, tmp_path / "run")
    shutil.copy(run / MODEL, damaged / FAMILIARITY)
    result = predict(damaged, folder, "copper.gr")
    assert f"{FAMILIARITY} is damaged" in str(result.exception)


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


def test_any_name_of_a_file_is_shown_as_it_is(run, folder, tmp_path):
    names = ["copper[cal].gr", os.fsdecode(b"copper \xb5m$.gr")]
    files = [str(shutil.copy(folder / "copper.gr", tmp_path / name)) for name in names]
    result = predict(run, folder, *files, "--out", str(tmp_path / "figures"))
    assert result.exit_code == 0, result.output
    assert "copper[cal].gr: host refined" in result.stdout
    assert r"copper \xb5m$.gr: host refined" in result.stdout


def test_a_claim_takes_a_fit_that_finds_the_defect(run, folder):
    found = Predictor(run).predict(Structure.read(folder / "copper.cif"), folder / "copper.gr", {})
    opinion = replace(found.opinion, probabilities={"vacancy": 0.97, "pristine": 0.0})
    found = replace(found, refusals=(), opinion=opinion)
    some, none = (
        replace(found, fits={"vacancy": replace(found.fits["vacancy"], fraction=fraction)})
        for fraction in ((0.05, 0.01), (0.003, 0.02))
    )
    assert (some.verdict, some.objection) == ("vacancy", None)
    assert none.verdict == "pristine"
    assert "finds 0.30 +- 2.00 defects per 100 host atoms, which may be none" in str(none.objection)


@pytest.mark.slow
def test_fits_try_what_the_runs_own_store_was_made_with(folder, tmp_path):
    other = '[defects]\nfraction = [0.05, 0.3]\nimpurities = ["Ag", "Au"]'
    bench = Bench(tmp_path / "store", TOML.replace("[defects]", other))
    assert bench.generate().returncode == 0
    run = tmp_path / "run"
    recipe = make_recipe("measured", {"epochs": 1, "batch_size": 8, "variation.rmax": [9, 12]})
    fit(bench.store, run, recipe, "host", 0, World(0, 1, torch.device("cpu")))
    whole = read_gr(folder / "copper.gr")
    write_gr(tmp_path / "many.gr", whole.r, 0.8 * whole.g, MEASURED)
    copper = Structure.read(folder / "copper.cif")
    found = Predictor(run).predict(copper, tmp_path / "many.gr", {"scale": 0.8}, ["scale"])
    assert found.fits["vacancy"].fraction[0] == pytest.approx(0.2, abs=0.02)
    assert found.fits["substitution"].elements.keys() <= {"Ag", "Au"}
    (note,) = notes_on_fit(
        {"vacancy": replace(found.fits["vacancy"], fraction=(0.3, 0.0))}, "vacancy", 0.3
    )
    assert "ends at 30 defects per 100 host atoms" in note


RELAXED = """
[library]
limit = 11
[defects]
supercell = [4, 4, 4]
separation = 2.0
impurities = ["Ag", "Au"]
impurity_uiso = "host"
variants_per_kind = 1
fraction = [0.004, 0.012]
[[stage]]
name = "relaxed"
[pdf]
rmax = 12.0
points = 110
refine_host = true
"""


@pytest.mark.slow
def test_fits_of_a_run_on_relaxed_defects_have_them_relaxed(folder, tmp_path):
    bench = Bench(tmp_path / "store", RELAXED)
    assert bench.generate().returncode == 0
    run = tmp_path / "run"
    recipe = make_recipe("default", {"epochs": 1, "batch_size": 8})
    fit(bench.store, run, recipe, "host", 0, World(0, 1, torch.device("cpu")))
    copper = Structure.read(folder / "copper.cif")
    kinds = ("self_interstitial",)
    settings = DefectSettings(kinds=kinds, separation=2.0, fraction=(0.008, 0.008))
    samples = Relaxed().apply(Defects(defects=settings).draw(copper.host, 0), Resources())[1:]
    found, parameters = [], replace(MEASURED, delta2=0.0)
    for number, sample in enumerate(samples):
        file = tmp_path / f"{number}.gr"
        write_gr(file, *calculate_pdf(sample.atoms(), parameters), parameters)
        found.append(Predictor(run).predict(copper, file, {"scale": 0.8}, ["scale"]))
    fractions = [one.fits["self_interstitial"].fraction[0] for one in found]
    assert np.mean(fractions) == pytest.approx(0.008, abs=0.0015)
    assert not any("on their sites" in note for one in found for note in one.notes)
    for one in found:
        assert (one.most_likely != "pristine") == any("`defectpdf analyse`" in x for x in one.notes)
    (rigid,) = [
        note
        for note in Predictor(run).predict(copper, file, {"scale": 0.8}, ["scale", "cell"]).notes
        if "on their sites" in note
    ]
    assert "training had them not" in rigid
