"""Limits of what is known of relaxed defects, on signals that are made up."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.integrate import quad

from benchmarks.studies import relaxed_limits
from benchmarks.studies.relaxed_likelihood import Judge, _over_fractions, accuracy, fraction_seen
from benchmarks.studies.relaxed_signals import AMPLITUDES, Signals, at
from defectgen.point_defects.settings import KINDS
from train.problems.defects.relaxed_means import State

RANGES = dict.fromkeys(KINDS, (0.01, 0.02))


def signals(size: float) -> Signals:
    """Kinds of which each has a direction of its own, rigid vacancies that of the scale."""
    unit = np.eye(8)
    states = {
        State(kind): size
        * np.stack([unit[place], *(a * unit[4] + unit[place] for a in AMPLITUDES)])
        for place, kind in enumerate(KINDS)
    }
    states[State("vacancy")][0] = -unit[5] * size
    return Signals(8.0, states, {"scale": unit[5]}, size * unit[5])


def recalls(size: float, scale: float, amplitudes: tuple[float, float] | None) -> np.ndarray:
    judge = Judge(signals(size), amplitudes, RANGES, 0.01, scale)
    return judge.recalls(200, np.random.default_rng(0))


@pytest.mark.parametrize("amplitudes", [None, (0.7, 1.3)])
def test_large_signals_are_told_apart_and_small_ones_by_chance_alone(amplitudes):
    assert recalls(30.0, 0.0, amplitudes).min() > 0.99
    assert recalls(1e-3, 0.0, amplitudes).mean() == pytest.approx(0.2, abs=0.05)


def test_a_free_scale_hides_vacancies_that_move_no_atom():
    none, vacancy, *others = recalls(30.0, math.inf, None)
    assert none + vacancy < 1.2
    assert min(others) > 0.99
    assert recalls(30.0, math.inf, (0.7, 1.3)).min() > 0.99
    assert fraction_seen(signals(30.0).left("scale free")[State("vacancy")][0], 0.01) == math.inf


def test_an_uncertain_scale_is_between_a_known_and_a_free_one():
    known, uncertain, free = (recalls(3.0, scale, None)[1] for scale in (0.0, 0.01, math.inf))
    assert known > uncertain + 0.1 > free + 0.2


def test_the_mean_over_fractions_is_that_of_quadrature():
    expected = np.array([[2.0, 0.0], [30.0, 1.0], [0.0, 0.0]])
    traces = np.array([[1.0, 0.5], [-40.0, 1.0], [70.0, 0.0]])
    found = _over_fractions(traces @ expected.T, expected, (0.5, 2.0))
    for trace, of_trace in zip(traces, found, strict=True):
        for one, value in zip(expected, of_trace, strict=True):
            p, q = trace @ one, one @ one
            most = max(p * x - q * x**2 / 2 for x in np.linspace(0.5, 2, 1001))

            def density(x: float, p: float = p, q: float = q, most: float = most) -> float:
                return math.exp(p * x - q * x**2 / 2 - most)

            wanted = math.log(quad(density, 0.5, 2.0, limit=500)[0] / 1.5) + most
            assert value == pytest.approx(wanted, abs=1e-5)


def test_amplitudes_between_are_on_a_parabola():
    curves = np.array([[1 + 2 * a + 3 * a**2] for a in AMPLITUDES])
    assert at(np.array([0.8, 1.0]), curves)[:, 0] == pytest.approx([4.52, 6.0])


def test_a_fraction_is_seen_at_three_deviations():
    assert fraction_seen(np.array([3.0, 4.0]), 0.1) == pytest.approx(0.06)


def test_accuracy_is_the_mean_over_hosts_and_classes():
    found = accuracy([np.ones(5), np.array([0.0, 1, 1, 1, 1])])
    assert found["accuracy"] == pytest.approx(90)
    assert found["no defect"] == pytest.approx(50)


@pytest.mark.slow
def test_the_study_of_a_host(monkeypatch, capsys):
    monkeypatch.setattr(relaxed_limits, "HOSTS", (("Fe", 229),))
    monkeypatch.setattr("sys.argv", ["relaxed_limits", "--json", "--draws", "2"])
    relaxed_limits.main()
    tables = json.loads(capsys.readouterr().out)["tables"]
    by_kind = {row["kind"]: row for row in tables[relaxed_limits.REMAINS]}
    assert by_kind["vacancy"]["on sites, scale free"] < 1e-5
    assert 0.1 < by_kind["vacancy"]["relaxed, scale free"] < 1
    (orders,) = tables[relaxed_limits.ORDERS]
    assert orders["missed by both"] < 0.35 * orders["exact"]
    for title, rows in tables.items():
        assert relaxed_limits.markdown(title, rows).count("\n") == len(rows) + 4
