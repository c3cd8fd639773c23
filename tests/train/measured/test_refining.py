from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from crystals import fcc_cif
from typer.testing import CliRunner

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf, read_gr, write_gr
from train.cli import app

MEASURED = PDFParameters(
    rmax=21.0, qmin=0.6, qmax=24.0, qdamp=0.035, qbroad=0.012, delta2=1.5, scale=0.8
)
SALT = fcc_cif("Na", 5.64, 0.02) + "Cl 0.5 0.5 0.5 0.018\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("refining")
    (folder / "copper.cif").write_text(fcc_cif("Cu", 3.615, 0.006))
    (folder / "salt.cif").write_text(SALT)
    fcc = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    for name, a in (("cold", 3.61), ("hot", 3.63)):
        copper = AtomicStructure(np.eye(3) * a, fcc, ["Cu"] * 4, [0.007] * 4)
        write_gr(folder / f"{name}.gr", *calculate_pdf(copper, MEASURED), MEASURED)
    write_gr(folder / "salt.gr", *calculate_pdf(folder / "salt.cif", MEASURED), MEASURED)
    (folder / "notes.gr").write_text("measured on Monday\n")
    return folder


def refine(folder: Path, structure: str, *arguments: object):
    words = [str(folder / a) if str(a).endswith(".gr") else str(a) for a in arguments]
    return CliRunner().invoke(app, ["refine", str(folder / structure), *words])


def test_several_files_give_a_line_a_fit_a_figure_each_and_a_table(folder, tmp_path):
    out = tmp_path / "fits"
    result = refine(folder, "copper.cif", "cold.gr", "hot.gr", "--rmax", 20, "--out", out)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if ": Rw " in line]
    assert [line.split(":")[0] for line in lines] == [
        str(folder / f"{n}.gr") for n in ("cold", "hot")
    ]
    assert "a 3.63 +- " in lines[1]
    assert {path.name for path in out.iterdir()} == {
        *("cold.fgr", "cold.svg", "hot.fgr", "hot.svg", "summary.csv")
    }
    with (out / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["a"]) for row in rows] == pytest.approx([3.61, 3.63], abs=2e-4)
    assert all(0 <= float(row["a_sd"]) < 1e-3 for row in rows)
    fit, measured = read_gr(out / "hot.fgr"), read_gr(folder / "hot.gr")
    inside = (measured.r >= fit.r[0] - 1e-6) & (measured.r <= fit.r[-1] + 1e-6)
    np.testing.assert_allclose(fit.g, measured.g[inside], atol=1e-6)
    assert "uiso = Cu 0.007" in (out / "hot.fgr").read_text()


def test_any_crystal_is_refined(folder):
    result = refine(folder, "salt.cif", "salt.gr", "--json", "--fix", "qdamp", "--fix", "qbroad")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["rw"] < 0.03
    assert found["values"]["a"] == pytest.approx(5.64, abs=1e-3)
    assert found["values"]["uiso_Cl"] == pytest.approx(0.018, rel=0.1)
    assert {"qdamp", "qbroad"}.isdisjoint(found["uncertainties"])
    assert any("no symmetry operations" in note for note in found["notes"])


def test_a_bad_file_does_not_stop_the_others(folder, tmp_path):
    result = refine(folder, "copper.cif", "notes.gr", "hot.gr", "--rmax", 12, "--out", tmp_path)
    assert result.exit_code == 2
    assert "notes.gr, line 1: no data" in result.stderr
    assert "hot.gr: Rw " in result.stdout
    assert (tmp_path / "hot.fgr").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hot.gr", "--fix", "colour"), "colour"),
        (("hot.gr", "--rmin", "9", "--rmax", "9.05"), "hot.gr: "),
    ],
)
def test_what_cannot_be_refined_is_one_line(folder, arguments, message):
    result = refine(folder, "copper.cif", *arguments)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_two_files_of_one_name_are_refused_where_files_are_written(folder, tmp_path):
    other = tmp_path / "hot.gr"
    other.write_bytes((folder / "hot.gr").read_bytes())
    words = ["refine", str(folder / "copper.cif"), str(folder / "hot.gr"), str(other)]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, ValueError)
    assert "would both be hot." in str(result.exception)
    assert not (tmp_path / "out").exists()
