"""The command that makes the docs' tables, on a small store, an epoch a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from runs import Bench

from benchmarks.studies.results_tables import Line, Run, mean_and_deviation, results_page
from defectgen.point_defects.settings import KINDS
from train.runs.rundir import METRICS

PROJECT = Path(__file__).parents[3]


def results(*arguments: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "benchmarks.studies.results", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)


def test_mean_and_deviation_of_seeds():
    assert mean_and_deviation([0.97]) == "97.00 %"
    assert mean_and_deviation([0.96, 0.97, 0.98]) == "97.00 ± 1.00 %"


def metrics(accuracy: float, nearest: float) -> dict:
    test = {"accuracy": accuracy, "top2": 1.0, "calibration": {"ece": 0.01}, "n": 1400}
    distances = {"0 %": nearest, "5 %": 0.1, "50 %": 0.5}
    leakage = {"hosts": 110, "hosts_in_training": 0, "nearest_training_host": distances}
    return {"test": test | {"leakage": leakage, "fraction": errors(0.006)}}


def errors(mean: float) -> dict:
    return {"mae": mean, "mae_per_class": dict.fromkeys(KINDS, mean), "within_one_deviation": 0.7}


def test_the_page_has_the_means_of_what_was_run():
    store = SimpleNamespace(id=np.arange(1172), rows=np.zeros((14064, 2)))
    host, group = Line("host", "shared", "store"), Line("space_group:225", "shared", "streaming")
    runs = [Run(host, seed, metrics(0.95 + 0.01 * seed, 0.05 + seed)) for seed in (0, 1)]
    fit = {"accuracy": 1.0, "element_accuracy": 0.9, "fraction": errors(0.0002)}
    looks = [Run(line, 0, {"refused": 0.5, "fit": fit}) for line in (host, group)]
    runs.append(Run(group, 0, metrics(0.9, 0.3)))
    lines = [host, group, Line("space_group:229", "shared", "streaming")]
    page = results_page(store, [0, 1], lines, runs, [], looks).splitlines()
    assert (
        "| host | shared | store | ideal | 2 | 95.50 ± 0.71 % | 100.00 ± 0.00 % "
        "| 1.00 ± 0.00 % | 1,400 |" in page
    )
    assert "| 229 | shared | streaming | 0 | not run |  |  |  |  |  |" in page
    assert any(
        line.startswith("| 225 | shared | streaming | 1 | 90.00 % |")
        and line.endswith("| 50.00 % | 100.00 % |")
        for line in page
    )
    assert "| host | 110 | 0 | 5.0 % | 10.0 % | 50.0 % |" in page
    assert any("80.10 % | 99.72 %" in line for line in page)
    by_network, by_fit = (
        next(line for line in page if f"| {by} |" in line) for by in ("network", "fit")
    )
    assert by_network.startswith(
        "| network | host | shared | 2 | 95.50 ± 0.71 % |  | 0.60 ± 0.00 %"
    )
    assert by_fit.startswith("| fit | host | shared | 1 | 100.00 % | 90.00 % | 0.02 %")


def test_a_store_of_one_kind_has_blanks_for_the_others():
    store, host = SimpleNamespace(id=np.arange(9), rows=np.zeros((27, 2))), Line("host", "a", "b")
    errors_of_vacancies = errors(0.001) | {"mae_per_class": {"vacancy": 0.001}}
    scores = metrics(1.0, 0.1)["test"] | {"fraction": errors_of_vacancies}
    fit = {"accuracy": 1.0, "element_accuracy": None, "fraction": errors_of_vacancies}
    look = Run(host, 0, {"refused": 0.0, "fit": fit})
    page = results_page(store, [0], [host], [Run(host, 0, {"test": scores})], [], [look])
    assert "| fit | host | a | 1 | 100.00 % |  | 0.10 % | 0.10 % |  |  |  | 70.00 % |" in page


@pytest.mark.slow
def test_what_is_missing_is_trained_and_what_is_finished_is_not(tmp_path):
    bench = Bench(tmp_path)
    (tmp_path / "run.toml").write_text(
        "[library]\nlimit = 160\n[defects]\nsupercell = [2, 2, 2]\n"
        "variants_per_kind = 1\n[pdf]\nrmax = 12.0\npoints = 60\n"
    )
    bench.generate()
    arguments = "--store", bench.store, "--runs", tmp_path / "runs", "--out", tmp_path / "docs"
    arguments = *arguments, "--seeds", 0, "--quick", "--set", "batch_size=32"

    listed = results(*arguments, "--table-only")
    assert listed.returncode == 0, listed.stderr
    n_wanted = listed.stdout.count("wanted: ")
    assert n_wanted > 9
    assert (tmp_path / "docs" / "results.md").read_text().count("not run") > n_wanted
    assert not (tmp_path / "runs").exists()

    made = results(*arguments)
    assert made.returncode == 0, made.stderr
    assert "not run" not in (tmp_path / "docs" / "results.md").read_text()
    found = json.loads((tmp_path / "docs" / "results.json").read_text())
    assert len(found["runs"]) == n_wanted
    assert len(found["baselines"][0]["methods"]) == 9
    looks = found["second_looks"]
    assert [look["scaling"] for look in looks[:2]] == ["shared", "trace"]
    groups = {run["split"] for run in found["runs"]} - {"host", "element", "row"}
    assert {look["split"] for look in looks[2:]} == groups
    assert all(look["fit"]["accuracy"] > 0.5 and 0 <= look["refused"] <= 1 for look in looks)

    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob(METRICS)}
    assert len(written) == n_wanted
    last = next(iter(written))
    last.unlink()
    again = results(*arguments)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done: ") == n_wanted - 1
    assert again.stdout.count("\ntraining ") == 1
    for path, time in written.items():
        assert path == last or path.stat().st_mtime_ns == time
