"""The benchmarks run, report all their rows and write their figures; nothing here is about time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf, write_gr

PROJECT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def quick_tables(name: str, folder: Path, *options: str) -> list[list[dict[str, Any]]]:
    """The tables of one script's quick run, after a look at what all of them report."""
    path = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--runs", "1", "--json"]
    done = subprocess.run(
        [*command, "--out", str(folder), *options],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["benchmark"] == name
    assert found["runs"] == 1
    assert {"processor", "cores", "load"} <= found["machine"].keys()
    assert {"Python", "defectpdf", "numpy"} <= found["versions"].keys()
    assert Path(found["figure"]).read_text().count("<svg") == 1
    return list(found["tables"].values())


def test_lattice(tmp_path):
    types, variants, atoms, rmax = quick_tables("lattice", tmp_path)
    assert [row["structure"] for row in types] == ["fcc", "bcc"]
    assert [row["atoms"] for row in types] == [500, 250]
    assert [row["variants"] for row in variants] == [1, 13]
    assert [row["atoms"] for row in atoms] == [108]
    assert [row["rmax A"] for row in rmax] == [10.0, 15.0]
    assert all(row["ms/PDF"] > 0 for table in (types, variants, atoms, rmax) for row in table)
    assert all(10 < row["peak memory MiB"] < 2048 for row in atoms)


def test_pairs(tmp_path):
    crystals, particles, rmax = quick_tables("pairs", tmp_path)
    assert [row["atoms"] for row in crystals] == [32, 108]
    assert [row["atoms"] for row in particles] == [30, 60]
    assert [row["rmax A"] for row in rmax] == [8.0, 10.0]
    assert all(row["ms/PDF"] > 0 for table in (crystals, particles, rmax) for row in table)


def test_powder(tmp_path):
    times, deviations = quick_tables("powder", tmp_path)
    assert [row["atoms"] for row in times] == [108, 54]
    assert all(row["ms/host"] > 0 and row["ms/supercell"] > 0 for row in times)
    assert all(row["degrees"] < 1e-5 for row in deviations)
    assert all(row["of the strongest %"] < 2 for row in deviations)


def test_reading(tmp_path):
    ((rows, lanes),) = quick_tables("reading", tmp_path)
    assert (rows["way"], lanes["way"]) == ("rows", "lanes")
    assert 0 < lanes["MiB read by a process"] < 0.7 * rows["MiB read by a process"]


def test_comparison(tmp_path):
    crystals, particles = quick_tables("comparison", tmp_path)
    engines = [row["engine"] for row in crystals]
    assert engines[:3] == ["pairs", "lattice", "lattice, 13 together"]
    assert {row["atoms"] for row in particles} == {60, 120}
    for row in (*crystals, *particles):
        assert row["difference"] < 1e-4
        assert row["ms/PDF"] > 0


@pytest.mark.skipif(find_spec("diffpy.pdffit2") is None, reason="needs diffpy.pdffit2")
def test_pdffit2(tmp_path):
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    nickel = AtomicStructure(3.53 * np.eye(3), corners, ["Ni"] * 4, [0.0055] * 4)
    instrument = PDFParameters(0.01, 30.0, 0.01, 0.0, 25.0, 0.05, 0.0, delta2=1.5, scale=0.8)
    r, g = calculate_pdf(nickel, instrument)
    write_gr(tmp_path / "nickel.gr", r, g, instrument)
    curves, fits = quick_tables("pdffit2", tmp_path, "--measured", str(tmp_path / "nickel.gr"))
    assert curves[1]["deviation"] < 0.05
    for row in fits:
        found = [row[name] for name in ("scale", "a", "uiso", "delta2", "qdamp")]
        np.testing.assert_allclose(found, [0.8, 3.53, 0.0055, 1.5, 0.05], rtol=0.02)


def test_whole_library(tmp_path):
    processes, stages = quick_tables("whole_library", tmp_path)
    assert [row["engine"] for row in processes] == ["serial"]
    assert processes[0]["peak memory MiB"] > 50
    assert "PDFs" in [row["stage"] for row in stages]
    np.testing.assert_allclose(sum(row["share %"] for row in stages), 100)


@pytest.mark.slow
def test_training(tmp_path):
    steps, parts, ceilings, choices = quick_tables("training", tmp_path)
    assert [row["recipe"] for row in steps] == ["default", "reference"]
    assert [row["rows"] for row in steps] == [8, 8]
    for row in steps:
        np.testing.assert_allclose(row["GFLOP/s"] * row["ms"], row["MFLOP"])
    # The reference study's step has neither a stretch nor an average.
    unused = [row["part"] for row in parts if row["reference ms"] == 0]
    assert unused == ["stretch", "average and schedule"]
    assert all(row["default ms"] > 0 for row in parts)
    np.testing.assert_allclose(sum(row["reference %"] for row in parts), 100)
    reached = ceilings[0]["default reaches %"] * ceilings[0]["GFLOP/s"] / 100
    np.testing.assert_allclose(reached, steps[0]["GFLOP/s"])
    ways = [row["way"] for row in choices if row["recipe"] == "default"]
    assert ways[:5] == ["fused", "foreach", "plain loop", "float32", "bfloat16"]
    assert ways[-2:] == ["store", "streaming"]


@pytest.mark.slow
def test_executors(tmp_path):
    if shutil.which("mpiexec") is None:
        pytest.skip("no mpiexec: pip install 'defectpdf[mpi]'")
    dispatch, scaling = quick_tables("executors", tmp_path)
    engines = ["dask, workers: 1", "dask, workers: 2", "mpi, workers: 1", "mpi, workers: 2"]
    assert [row["engine"] for row in dispatch] == ["order to the computing process", *engines]
    assert [row["engine"] for row in scaling] == engines
    assert all(row["ms/task"] > 0 for row in dispatch)
    assert [row["over one worker"] for row in scaling][::2] == [1, 1]
