"""`analyse`: what a measurement shows of defects, and what it can't exclude."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crystals import fcc_cif
from scipy.interpolate import CubicSpline
from typer.testing import CliRunner

from defectgen.hosts.library import embedded_library
from defectgen.samples import Resources
from defectgen.sources.defects import Defects
from defectgen.stages.relaxed import Relaxed
from pdfcalc import PDFParameters, calculate_pdf, write_gr
from train.cli import app
from train.measured.limits import MOST

INSTRUMENT = PDFParameters(rmin=0, rmax=28.0, qmin=0.6, qmax=25.0, qdamp=0.03, qbroad=0.01)
KINDS = ("vacancy", "self_interstitial", "substitution", "interstitial")
R = np.arange(1.5, 20, np.pi / 25)


def sample(kind: str | None, fraction: float = 0.006) -> np.ndarray:
    """G(r) of copper at R, relaxed around its defects, on average over some supercells."""
    copper = next(h for h in embedded_library() if (h.element, h.space_group) == ("Cu", 225))
    copper = copper.changed(3.615, 3.615, 0.006)
    settings: dict[str, Any] = {
        "kinds": [kind or "vacancy"],
        "fraction": (0.5 * fraction, 1.5 * fraction),
        "variants_per_kind": 16,
        "impurities": ["Au"],
        "impurity_uiso": "host",
        "separation": 2.0,
    }
    source = Defects.model_validate({"defects": settings})
    samples = source.draw(copper, 7)[1:] if kind else source.draw(copper, 7)[:1]
    samples = Relaxed().apply(samples, Resources())
    curves = [calculate_pdf(one.atoms(), INSTRUMENT) for one in samples]
    return CubicSpline(curves[0][0], np.mean([g for _, g in curves], axis=0))(R)


def write(path: Path, g: np.ndarray, noise: float, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    g = g + noise * np.sqrt(np.mean(g**2)) * rng.normal(size=len(R))
    write_gr(path, R, 0.7 * g, INSTRUMENT)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("analysis")
    (folder / "copper.cif").write_text(fcc_cif("Cu", 3.61, 0.006))
    (folder / "salt.cif").write_text(fcc_cif("Na", 3.61, 0.006) + "Cl 0.5 0.5 0.5 0.018\n")
    write(folder / "perfect.gr", sample(None), 0.02)
    write(folder / "damaged.gr", sample("self_interstitial"), 0.02)
    (folder / "notes.gr").write_text("measured on Monday\n")
    return folder


def analyse(folder: Path, *words: object, structure: str = "copper.cif", impurity: str = "Au"):
    names = [str(folder / w) if str(w).endswith(".gr") else str(w) for w in words]
    arguments = ["analyse", str(folder / structure), *names, "--impurity", impurity]
    return CliRunner().invoke(app, arguments)


def records(result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def found(folder) -> tuple[dict[str, Any], ...]:
    result = analyse(folder, "perfect.gr", "damaged.gr", "--json")
    assert result.exit_code == 0, result.output
    return tuple(records(result))


def test_a_perfect_crystal_gives_no_evidence_but_limits(found):
    perfect, _ = found
    assert perfect["verdict"] == "no evidence"
    assert perfect["found"] == []
    assert perfect["left_is_noise"] is True
    assert tuple(perfect["limits"]) == KINDS
    vacancy, own, *foreign = perfect["limits"].values()
    assert 0 < own["fraction_95"] < 0.003 < vacancy["fraction_95"] < MOST
    # On their sites vacancies change the scale alone, which is free.
    assert vacancy["fraction_95_rigid"] is None
    for of in foreign:
        assert 0 < of["fraction_95"] == of["elements"]["Au"]["fraction_95"] < 0.02
    assert perfect["rw"] == perfect["refinement"]["rw"] < 0.03


def test_the_network_is_asked_where_noise_or_a_defect_explains_what_is_left(found):
    for one in found:
        assert sum(one["network"].values()) == pytest.approx(1)
        assert any("the run finds" in note for note in one["notes"])


def test_a_measurement_too_short_for_the_network_is_analysed_without_it(folder, tmp_path):
    inside = R < 4.0
    write_gr(tmp_path / "short.gr", R[inside], 0.7 * sample(None)[inside], INSTRUMENT)
    result = analyse(folder, tmp_path / "short.gr", "--json")
    assert result.exit_code == 0, result.output
    (one,) = records(result)
    assert one["network"] is None
    assert any("the network was not asked: " in note for note in one["notes"])


def test_what_is_there_is_found_and_below_its_limit(found):
    _, damaged = found
    assert "self_interstitial" in damaged["verdict"]
    assert {"kind": "self_interstitial", "element": None} in damaged["found"]
    own = damaged["limits"]["self_interstitial"]
    assert own["fraction_95"] > 0.006
    assert own["significance"] > 5


def test_light_impurities_are_looked_for_between_atoms(folder):
    (one,) = records(analyse(folder, "perfect.gr", "--json", impurity="C"))
    vacancy, own, between = one["limits"].items()
    assert (vacancy[0], own[0], between[0]) == ("vacancy", "self_interstitial", "interstitial")
    assert list(between[1]["elements"]) == ["C"]
    assert one["verdict"] == "no evidence"
    assert 0 < between[1]["fraction_95"] < MOST


@pytest.mark.slow
def test_a_measured_reference_takes_the_faults_of_both_away(folder, tmp_path):
    fault = 0.03 * np.sin(3.7 * R) * np.exp(-(((R - 9) / 4) ** 2)) * np.abs(sample(None)).max()
    clean = sample(None)
    for name, g, seed in (("reference", clean, 1), ("same", clean, 2)):
        write(tmp_path / f"{name}.gr", g + fault, 0.01, seed)
    reference = ["--reference", tmp_path / "reference.gr", "--json"]
    alone = records(analyse(folder, tmp_path / "same.gr", "--json"))[0]
    both = records(analyse(folder, tmp_path / "same.gr", *reference))[0]
    assert (alone["reference"], both["reference"]) == (None, str(tmp_path / "reference.gr"))
    assert not alone["left_is_noise"]
    assert both["left_is_noise"]
    assert both["verdict"] == "no evidence"
    limits = [one["limits"]["self_interstitial"]["fraction_95"] for one in (alone, both)]
    assert limits[1] < limits[0]
    (tmp_path / "short.gr").write_text("")
    r = R[R < 12]
    write_gr(tmp_path / "short.gr", r, clean[: len(r)], INSTRUMENT)
    out = analyse(folder, "perfect.gr", "--reference", tmp_path / "short.gr")
    assert out.exit_code == 2
    assert "the reference has r from 1.5 to" in out.stderr


@pytest.mark.slow
def test_a_page_has_the_verdict_the_limits_and_the_curves(folder, tmp_path):
    page = tmp_path / "page.html"
    result = analyse(folder, "perfect.gr", "-o", page)
    assert result.exit_code == 0, result.output
    assert "There is no evidence of point defects. That does not say that there are none" in (
        result.stdout
    )
    assert "vacancy: up to " in result.stdout
    text = page.read_text()
    for part in ("no evidence", "be excluded", "<svg", "delta2", "Au", "offset"):
        assert part in text
    assert not any(loaded in text for loaded in ("src=", "<link", "<script", "url(http", "@import"))


def test_another_crystal_is_refused(folder):
    (one,) = records(analyse(folder, "perfect.gr", "--json", structure="salt.cif"))
    assert one["verdict"] == "refused"
    assert one["limits"] == {}
    assert one["refusals"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["notes.gr"], "notes.gr, line 1: no data"),
        (["perfect.gr", "damaged.gr", "-o", "page.html"], "--output is for one measurement"),
        (["perfect.gr", "-o", "no/such/page.html"], "there is no folder no/such; make it first"),
        (["perfect.gr", "--impurity", "Xx"], "--impurity Xx: is none of Li, Be"),
        (["perfect.gr", "--impurity", "Cu"], "--impurity Cu: is none of"),
        (["perfect.gr", "--reference", "notes.gr"], "notes.gr, line 1: no data"),
    ],
)
def test_mistakes_are_one_line(folder, words, message):
    result = analyse(folder, *words)
    said = result.stderr if result.exit_code == 2 else str(result.exception)
    assert message in said
    assert "Traceback" not in result.output
