"""What relaxing adds for impurities that were not simulated, beside simulations of them."""

from __future__ import annotations

import numpy as np
import pytest

from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import DefectSettings
from defectgen.samples import UnusableItem
from hpc.observables.pdf import PDFSettings
from train.problems.defects import relaxed_additions
from train.problems.defects.relaxed_additions import RelaxedAdditions
from train.problems.defects.relaxed_means import RelaxedMeans, State

HOST = next(host for host in embedded_library() if host.element == "Fe")
PDF = PDFSettings(rmax=9.0, points=70)


def means(**settings: object) -> RelaxedMeans:
    defects = DefectSettings.model_validate({"supercell": (3, 3, 3), "separation": 2.0} | settings)
    return RelaxedMeans(HOST, defects, PDF, draws=2)


@pytest.mark.parametrize("state", [State("substitution", "Zr"), State("interstitial", "Ag", 1)])
def test_a_regression_stands_for_an_impurity_that_is_not_simulated(monkeypatch, state):
    monkeypatch.setitem(relaxed_additions._SIMULATED, state.kind, 20)
    every = means()
    x = np.array([0.0, every.fraction(state)])
    (none, found), *others = RelaxedAdditions(every, (0.8, 1.2)).of(state, x)[2:]
    simulated_change = every.fraction(state) * every.by_relaxing(state, 1.0)
    assert not none.any()
    assert len(others) == 2
    missed = np.linalg.norm(found - simulated_change)
    assert 0 < missed < 0.3 * np.linalg.norm(simulated_change)


def test_few_impurities_are_simulated_themselves():
    few = means(impurities=("Al", "Ag"))
    state = State("interstitial", "Al", 0)
    x = few.fraction(state)
    ((found,),) = RelaxedAdditions(few, (0.5, 0.5)).of(state, np.array([x]))
    assert found == pytest.approx(x * few.by_relaxing(state, 0.5))


def test_what_cannot_be_relaxed_stays_on_its_sites(monkeypatch):
    def unusable(*_: object) -> np.ndarray:
        raise UnusableItem("no room")

    monkeypatch.setattr(RelaxedMeans, "by_relaxing", unusable)
    for state in (State("vacancy"), State("interstitial", "Ag", 0)):
        assert not RelaxedAdditions(means(), (1.0, 1.0)).of(state, np.array([0.01])).any()
