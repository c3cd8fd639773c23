"""The study of what is knowable, on a small store and a network of one epoch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runs import Bench

from benchmarks.studies.error_study import NOISES, Noise, draw_rows
from benchmarks.studies.identifiability import learnt_likelihood, of_all_groups
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import DefectSettings
from hpc.observables.pdf import PDFSettings

PROJECT = Path(__file__).parents[3]
SMALL, SHORT = DefectSettings(supercell=(3, 3, 3)), PDFSettings(rmax=15.0, points=150)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)


def test_noise_is_of_the_pristine_trace():
    pristine = np.array([[3.0, -4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert Noise(0.02, "largest |G|").deviation(pristine).tolist() == [[0.08], [0.0]]
    assert Noise(0.02, "root mean square").deviation(pristine).tolist() == [[0.05], [0.0]]
    assert [str(noise) for noise in NOISES[:2]] == ["none", "0.5 % of the largest |G|"]


def test_hosts_of_all_groups_come_in_turn():
    chosen = of_all_groups(embedded_library(), 12)
    groups = [host.space_group for host in chosen]
    assert groups[:6] == groups[6:]
    assert len(set(groups)) == 6
    assert len({host.id for host in chosen}) == 12


@pytest.mark.slow
@pytest.mark.parametrize("element", ["Cu", "Zr"])
def test_the_likelihood_knows_a_host_and_how_sure_it_is(element):
    host = next(host for host in embedded_library() if host.element == element)
    likelihood = learnt_likelihood(host, SMALL, SHORT, 200)
    rows = draw_rows([host], SMALL, SHORT, 50, seed=1)
    assert np.bincount(rows.kind).tolist() == [50] * 4
    right = {}
    for fraction in (0.0, 0.02):
        noise = Noise(fraction, "largest |G|")
        deviation = float(noise.deviation(rows.pristine)[0, 0])
        found = likelihood.log_likelihood(rows.noisy(noise, 0), deviation, scale_free=False)
        right[fraction] = np.mean(found.argmax(axis=1) == rows.kind)
        posterior = np.exp(found - found.max(axis=1, keepdims=True))
        sure = (1 / posterior.sum(axis=1)).mean()
        assert abs(sure - right[fraction]) < 0.06
    assert right[0.0] > 0.98
    assert 0.7 < right[0.02] < 0.97
    # Another scale changes nothing where it is free, and much where it is known.
    noise = Noise(0.005, "largest |G|")
    noisy, deviation = rows.noisy(noise, 0), float(noise.deviation(rows.pristine)[0, 0])
    for scale_free, least, most in ((True, 0.97, 1.0), (False, 0.0, 0.7)):
        found = likelihood.log_likelihood(noisy, deviation, scale_free).argmax(axis=1)
        larger = likelihood.log_likelihood(1.1 * noisy, deviation, scale_free).argmax(axis=1)
        assert least <= np.mean(found == larger) <= most


@pytest.mark.slow
def test_the_command_writes_tables_and_figure(tmp_path):
    bench = Bench(tmp_path)
    (tmp_path / "run.toml").write_text(
        "[library]\nlimit = 160\n[defects]\nsupercell = [3, 3, 3]\n"
        "variants_per_kind = 1\n[pdf]\nrmax = 12.0\npoints = 100\n"
    )
    bench.generate()
    for scaling in ("shared", "trace"):
        made = run(
            *("-c", "from train.cli import main; main()", "train", bench.store),
            *("--out", tmp_path / scaling, "--epochs", 1, "--scaling", scaling),
            *("--recipe", "ideal"),
        )
        assert made.returncode == 0, made.stderr
    runs = tmp_path / "shared", tmp_path / "trace"
    study = ("-m", "benchmarks.studies.identifiability", "--store", bench.store, "--quick")
    done = run(*study, "--runs", *runs, "--out", tmp_path / "docs", "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content == json.loads((tmp_path / "docs" / "identifiability.json").read_text())
    assert content["runs"] == {"shared": "shared", "trace": "trace"}
    by_class, *_, by_noise, recall, contrast = content["tables"].values()
    assert [row["class"] for row in by_class][-1] == "all"
    whole = by_class[-1]
    assert whole["n"] == sum(row["n"] for row in by_class[:-1])
    assert whole["shared"] == pytest.approx(np.mean([row["shared"] for row in by_class[:-1]]))
    assert by_noise[0]["limit, scale known"] > 90
    assert len(recall) == 4 * len(by_noise)
    assert "none" in contrast[0]
    page = (tmp_path / "docs" / "identifiability-tables.md").read_text()
    assert r"| 2 % of the largest \|G\| |" in page
    assert all(f"## {title}" in page for title in content["tables"])
    assert (tmp_path / "docs" / "identifiability.png").stat().st_size > 10_000
