from __future__ import annotations

import csv
import math
import subprocess
import sys
from importlib.resources import files

import numpy as np
import periodictable
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from defectgen.hosts.elements import (
    atomic_number,
    atomic_volume,
    debye_temperature,
    debye_uiso,
    metals,
)

TEXT = files("defectgen.hosts").joinpath("data", "elements.csv").read_text(encoding="utf-8")
ROWS = list(csv.DictReader(TEXT.splitlines()))

# Debye-Waller factors B (A^2) at room temperature from force-constant models: Sears and Shelley,
# Acta Cryst. A47 (1991) 441.
SEARS_SHELLEY = {
    "Li": 4.9,
    "Na": 6.6,
    "Al": 0.81,
    "K": 10.7,
    "V": 0.58,
    "Cr": 0.263,
    "Fe": 0.34,
    "Ni": 0.34,
    "Cu": 0.56,
    "Nb": 0.45,
    "Mo": 0.22,
    "Pd": 0.45,
    "Ag": 0.73,
    "Ta": 0.32,
    "W": 0.161,
    "Pt": 0.37,
    "Au": 0.62,
    "Pb": 2.11,
}


def test_metals_are_sorted_by_atomic_number_and_leave_out_non_metals():
    numbers = [atomic_number(element) for element in metals()]
    assert numbers == sorted(set(numbers))
    assert {"Li", "Fe", "In", "Sn", "Sb", "Bi", "Lu", "U", "Am"} <= set(metals())
    assert not {"H", "C", "Si", "Ge", "As", "Te", "Xe"} & set(metals())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["element"])
def test_each_row_agrees_with_the_periodic_table_and_names_its_sources(row):
    element = periodictable.elements.symbol(row["element"])
    assert int(row["atomic_number"]) == element.number
    assert float(row["mass"]) == pytest.approx(element.mass, rel=1e-3)
    assert row["debye_source"]
    assert row["volume_source"]
    assert row["debye_kind"] in ("b_factor", "calorimetric", "estimated")
    assert 30 < debye_temperature(row["element"]) < 1500
    assert 8 < atomic_volume(row["element"]) < 115


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row["b_280"]], ids=lambda row: row["element"]
)
def test_debye_temperatures_reproduce_the_debye_waller_factors_they_come_from(row):
    b = 8 * math.pi**2 * debye_uiso(row["element"], 280.0)
    assert b == pytest.approx(float(row["b_280"]), rel=0.005)


@pytest.mark.parametrize(("element", "b"), SEARS_SHELLEY.items())
def test_displacements_agree_with_an_independent_table(element, b):
    assert 8 * math.pi**2 * debye_uiso(element, 295.0) == pytest.approx(b, rel=0.06)


@pytest.mark.parametrize("ratio", [0.1, 1.0, 5.0, 35.0, 300.0])
def test_debye_integral_matches_adaptive_quadrature(ratio):
    integral, _ = quad(lambda t: t / np.expm1(t), 0, min(ratio, 100.0), epsabs=1e-13)
    zero_point = debye_uiso("Cu", 0.0)
    thermal = debye_uiso("Cu", debye_temperature("Cu") / ratio) - zero_point
    assert thermal / zero_point == pytest.approx(4 * integral / ratio**2, rel=1e-9)


@given(st.sampled_from(metals()), st.floats(0.01, 3000), st.floats(1.001, 3))
def test_displacement_rises_with_temperature(element, temperature, factor):
    assert debye_uiso(element, temperature * factor) >= debye_uiso(element, temperature) > 0


def test_displacement_tends_to_the_zero_point_value_and_to_the_classical_limit():
    assert debye_uiso("W", 1e-3) == pytest.approx(debye_uiso("W", 0.0), rel=1e-9)
    assert debye_uiso("Pb", 2000.0) == pytest.approx(2 * debye_uiso("Pb", 1000.0), rel=1e-3)


@pytest.mark.parametrize("function", [atomic_number, atomic_volume, debye_temperature, debye_uiso])
def test_unknown_element_is_named_in_the_error(function):
    with pytest.raises(ValueError, match="'Xx' is not one of the metals"):
        function("Xx")


@pytest.mark.parametrize("temperature", [-1.0, math.nan, math.inf])
def test_impossible_temperature_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be finite"):
        debye_uiso("Cu", temperature)


def test_import_pulls_in_nothing_heavy():
    heavy = "{'scipy', 'torch', 'spglib'}"
    code = f"import sys, defectgen.hosts.elements; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
