"""What runs claim of simulated measurements, on a small store and a network of one epoch."""

from __future__ import annotations

import pytest
import torch
from runs import Bench
from scipy.stats import binom

from benchmarks.studies.claims import analysed, at_most, count_claims, main, verdicts
from train.fitting.loop import fit
from train.problems.defects.recipes import make_recipe
from train.setup.distributed import World


def test_a_refused_measurement_claims_nothing():
    found = [("vacancy", verdict) for verdict in ("vacancy", "substitution", "refused", "pristine")]
    of_vacancies, of_none = count_claims([*found, ("pristine", "pristine")])
    assert of_vacancies == {
        **{"class": "vacancy", "n": 4},
        **{"claimed": 0.5, "claimed_95": at_most(2, 4), "right": 0.5, "refused": 0.25},
    }
    assert of_none == {
        **{"class": "pristine", "n": 1},
        **{"claimed": 0.0, "claimed_95": pytest.approx(0.95), "right": None, "refused": 0.0},
    }


def test_a_count_is_printed_with_what_it_may_be():
    assert at_most(0, 167) == pytest.approx(1 - 0.05 ** (1 / 167))
    assert binom.cdf(3, 10, at_most(3, 10)) == pytest.approx(0.05)
    assert at_most(4, 4) == 1


def test_a_store_without_runs_is_no_question(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["claims", "--store", "metals.zarr"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "--store and --runs go together" in capsys.readouterr().err


@pytest.mark.slow
def test_analyse_claims_nothing_of_a_host_alone():
    vacancies, none = analysed(2)
    assert vacancies[0] == "vacancy"
    assert none == ("pristine", "pristine")


@pytest.mark.slow
def test_a_run_on_measurements_is_asked_about_its_test_part(tmp_path):
    bench = Bench(tmp_path)
    assert bench.generate().returncode == 0
    alone = World(0, 1, torch.device("cpu"))
    for name, choices in (("measured", {"variation.rmax": [9, 12]}), ("default", {})):
        recipe = make_recipe(name, {"epochs": 1, **choices})
        fit(bench.store, tmp_path / name, recipe, "host", 0, alone)
    found = verdicts(tmp_path / "measured", bench.store, 5)
    assert len(found) == 5
    with pytest.raises(ValueError, match="is no run on measurements"):
        verdicts(tmp_path / "default", bench.store, 5)
