"""Whether limits hold is counted right, on simulated measurements."""

from __future__ import annotations

import pytest

from benchmarks.studies import limits


def test_coverage_is_counted_by_kind_and_amplitude():
    found = [
        {"kind": "vacancy", "amplitude": 1.0, "fraction": 0.01, "upper": upper, "off": off}
        for upper, off in ((0.02, 0.5), (0.005, -2.0))
    ]
    found.append(found[0] | {"kind": "substitution", "amplitude": 0.7})
    lines = {(line["kind"], line["amplitude"]): line for line in limits.coverage(found)}
    assert set(lines) == {("vacancy", 1.0), ("substitution", 0.7), ("all", 1.0), ("all", 0.7)}
    vacancies = lines["vacancy", 1.0]
    assert (vacancies["n"], vacancies["covered"], vacancies["within"]) == (2, 0.5, 0.5)
    assert vacancies["upper"] == pytest.approx(0.0125)


@pytest.mark.slow
def test_simulated_measurements_are_below_their_limits():
    found = list(limits.measurements(24))
    assert len(found) >= 20
    assert sum(one["upper"] >= one["fraction"] for one in found) >= 0.75 * len(found)
