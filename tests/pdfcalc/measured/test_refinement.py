"""Refinement of the host: known values found again, with honest uncertainties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pdfcalc import (
    AtomicStructure,
    GrFile,
    GrHeader,
    PDFParameters,
    calculate_pdf,
    measured_parameters,
    refine_host,
)
from pdfcalc.measured.refinement import BEYOND

INSTRUMENT = PDFParameters(0, 16, 0.02, 0.8, 24.0, 0.035, 0.015, delta2=2.2, scale=0.63)
START = PDFParameters(1.5, 16, 0.02, 0.8, 24.0, qdamp=0.03, qbroad=0.01)
NOISE = 0.03


def crystal(kind, uiso=0.006):
    if kind == "cubic":
        lattice = 3.52 * np.eye(3)
        frac = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    elif kind == "tetragonal":
        lattice, frac = np.diag([3.25, 3.25, 4.95]), [[0, 0, 0], [0.5, 0.5, 0.5]]
    else:
        lattice = np.array([[2.66, 0, 0], [-1.33, 1.33 * 3**0.5, 0], [0, 0, 4.95]])
        frac = [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    return AtomicStructure(lattice, frac, ["Ni"] * len(frac), [uiso] * len(frac))


def strained(structure, *strains):
    lattice = structure.lattice * (1 + np.array(strains))[:, None]
    return AtomicStructure(lattice, structure.frac, structure.elements, structure.uiso)


def measured(structure, parameters=INSTRUMENT, noise=NOISE):
    r, g = calculate_pdf(structure, replace(parameters, rmax=parameters.rmax + BEYOND))
    r, g = r[r < parameters.rmax], g[r < parameters.rmax]
    return r, g + np.random.default_rng(7).normal(scale=noise, size=len(g))


@pytest.mark.parametrize(
    ("kind", "scattering", "strains", "truth"),
    [
        ("cubic", "xray", (0.03, 0.03, 0.03), {"a": 3.52}),
        ("cubic", "neutron", (-0.025, -0.025, -0.025), {"a": 3.52}),
        ("tetragonal", "xray", (0.02, 0.02, -0.03), {"a": 3.25, "c": 4.95}),
        ("hexagonal", "neutron", (-0.02, -0.02, 0.025), {"a": 2.66, "c": 4.95}),
    ],
)
def test_known_values_are_found_from_a_wrong_cell(kind, scattering, strains, truth):
    instrument = replace(INSTRUMENT, scattering=scattering)
    r, g = measured(crystal(kind), instrument)
    start = strained(crystal(kind, uiso=0.01), *strains)
    found = refine_host(start, r, g, replace(START, scattering=scattering))
    names = ("scale", "qdamp", "qbroad", "delta2")
    truth = truth | {"uiso_Ni": 0.006} | {name: getattr(instrument, name) for name in names}
    assert found.converged
    assert found.values.keys() == found.uncertainties.keys() == truth.keys()
    for name, value in truth.items():
        away = abs(found.values[name] - value) / found.uncertainties[name]
        assert away < 4, f"{name} = {found.values[name]}, {away:.1f} uncertainties from {value}"
    assert found.uncertainties["a"] < 1e-3
    assert found.rw == pytest.approx(NOISE / np.sqrt(np.mean(found.g**2)), rel=0.1)
    np.testing.assert_allclose(
        found.rw, np.sqrt(np.sum((found.g - found.g_calculated) ** 2) / np.sum(found.g**2))
    )


def test_a_cell_whose_peaks_miss_the_measured_ones():
    sharp = crystal("cubic", uiso=0.003)
    start = replace(START, scale=0.0)  # which is no better a guess
    found = refine_host(strained(sharp, *[-0.045] * 3), *measured(sharp), start)
    assert found.values["a"] == pytest.approx(3.52, abs=4 * found.uncertainties["a"])
    assert found.rw < 0.03


@pytest.mark.slow
def test_uncertainties_are_those_of_repeated_measurements():
    r, exact = measured(crystal("cubic"), noise=0.0)
    rng = np.random.default_rng(3)
    free = ("scale", "a", "uiso_Ni")
    fits = [
        refine_host(
            crystal("cubic"),
            r,
            exact + rng.normal(scale=NOISE, size=len(r)),
            replace(INSTRUMENT, rmin=1.5),
            fixed=("qdamp", "qbroad", "delta2"),
        )
        for _ in range(16)
    ]
    for name in free:
        stated = np.mean([fit.uncertainties[name] for fit in fits])
        # A standard deviation of 16 is itself uncertain by 18 %.
        assert 0.5 < np.std([fit.values[name] for fit in fits], ddof=1) / stated < 1.6


def test_the_result_gives_its_own_curve():
    r, g = measured(crystal("cubic"))
    found = refine_host(crystal("cubic"), r, g, START)
    farther = replace(found.parameters, rmax=16 + BEYOND)
    again = calculate_pdf(found.structure, farther)[1]
    assert found.r[0] >= 1.5
    assert (found.parameters.rmin, found.parameters.rmax) == (1.5, 16)
    np.testing.assert_allclose(again[: len(found.r)], found.g_calculated, atol=1e-9)
    assert found.structure.lattice[0, 0] == pytest.approx(found.values["a"])
    assert found.structure.uiso == pytest.approx(found.values["uiso_Ni"])
    assert found.parameters.delta2 == found.values["delta2"]


def test_fixed_values_stay():
    r, g = measured(crystal("tetragonal"))
    fixed = ("scale", "c", "qdamp", "qbroad", "delta2")
    found = refine_host(crystal("tetragonal"), r, g, INSTRUMENT, fixed)
    assert found.uncertainties.keys() == {"a", "uiso_Ni"}
    assert found.structure.lattice[2, 2] == 4.95
    assert found.parameters == INSTRUMENT
    nothing = refine_host(crystal("tetragonal"), r, g, INSTRUMENT, (*fixed, "a", "uiso_Ni"))
    assert nothing.uncertainties == {}
    one_name = refine_host(crystal("tetragonal"), r, g, INSTRUMENT, "cell")
    assert one_name.values["a"] == 3.25
    np.testing.assert_array_equal(nothing.structure.uiso, crystal("tetragonal").uiso)


def test_each_element_has_its_displacement():
    frac = [[0, 0, 0], [0.5, 0.5, 0.5]]
    truth = AtomicStructure(2.88 * np.eye(3), frac, ["Ni", "Al"], [0.005, 0.009])
    r, g = measured(truth)
    start = AtomicStructure(2.9 * np.eye(3), frac, ["Ni", "Al"], [0.007, 0.007])
    found = refine_host(start, r, g, START)
    assert found.values["uiso_Ni"] == pytest.approx(0.005, abs=4 * found.uncertainties["uiso_Ni"])
    assert found.values["uiso_Al"] == pytest.approx(0.009, abs=4 * found.uncertainties["uiso_Al"])


def test_a_coarse_grid_off_the_steps_of_the_calculation():
    r, g = calculate_pdf(crystal("cubic"), replace(INSTRUMENT, rstep=0.001))
    coarse = slice(7, None, round(np.pi / 24.0 / 0.001))
    found = refine_host(crystal("cubic", 0.01), r[coarse], g[coarse], START)
    assert found.values["a"] == pytest.approx(3.52, abs=1e-4)
    assert found.rw < 5e-3


def test_values_at_a_bound_have_finite_uncertainties():
    perfect = replace(INSTRUMENT, qdamp=0.0, qbroad=0.0, delta2=0.0)
    r, g = measured(crystal("cubic"), perfect)
    found = refine_host(crystal("cubic"), r, g, replace(START, qdamp=0.0, qbroad=0.0))
    for name in ("qdamp", "qbroad"):
        assert found.values[name] < 4 * found.uncertainties[name] < 0.1
    assert all(np.isfinite(list(found.uncertainties.values())))


def test_another_crystal_fits_badly():
    r, g = measured(crystal("cubic"))
    assert refine_host(crystal("hexagonal"), r, g, START).rw > 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": replace(START, qmax=None)}, "qmax.* must be given"),
        ({"parameters": replace(START, rmin=20, rmax=30)}, r"from 0 to 15.98 A, none between"),
        ({"parameters": replace(START, rmin=2, rmax=2.5)}, "too few for 6 free values: widen"),
        ({"fixed": ("c",)}, "fixed: c: this crystal has the values scale, a, uiso_Ni"),
        ({"element": "Xx"}, "'Xx' is not the symbol of an element"),
        ({"g": np.zeros(800)}, "zero at all points"),
        ({"g": np.full(800, np.nan)}, "must be finite"),
        ({"g": np.zeros(3)}, "two columns of equal length"),
        ({"r": np.zeros(800)}, "r must increase"),
        (
            {"structure": AtomicStructure.finite([[0, 0, 0], [2, 0, 0]], ["Ni"] * 2, [0.01] * 2)},
            "particle",
        ),
    ],
)
def test_bad_input_is_refused(change, message):
    r, g = calculate_pdf(crystal("cubic"), INSTRUMENT)
    structure = change.pop("structure", crystal("cubic"))
    if "element" in change:
        elements = [change.pop("element")] * 4
        structure = AtomicStructure(structure.lattice, structure.frac, elements, structure.uiso)
    given = {"r": r, "g": g, "parameters": START} | change
    with pytest.raises(ValueError, match=message):
        refine_host(structure, **given)


def test_the_header_gives_the_start():
    header = GrHeader(0.5, 22.0, 0.02, None, "neutron", composition={"Ni": 1.0})
    file = GrFile(np.arange(3.0), np.arange(3.0), None, header)
    found = measured_parameters(file, crystal("cubic"), rmax=20, qdamp=0.04)
    assert found == PDFParameters(1.5, 20, 0.01, 0.5, 22.0, 0.04, 0.0, "neutron")
    isotope = AtomicStructure(np.eye(3), [[0, 0, 0]], ["58-Ni"], [0.005])
    assert measured_parameters(file, isotope).qmax == 22.0
    copper = AtomicStructure(np.eye(3), [[0, 0, 0]], ["Cu"], [0.005])
    with pytest.warns(UserWarning, match=r"header says Ni, the structure is of Cu: an impurity"):
        assert measured_parameters(file, copper).qmax == 22.0
    silent = GrFile(file.r, file.g, None, GrHeader())
    with pytest.raises(ValueError, match=r"does not state qmax.*: give qmax"):
        measured_parameters(silent, copper)
    with pytest.raises(ValueError, match=r"does not state qmax.*: give qmax"):
        measured_parameters(silent, copper, qmax=0.0)
    assert measured_parameters(silent, copper, qmax=25.0).qmax == 25.0
    with pytest.raises(ValueError, match=r"^scale = 0 must be positive$"):
        measured_parameters(silent, copper, qmax=25.0, scale=0.0)
