"""A crystal refined against a calculated G(r) is the crystal that was calculated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf
from pdfcalc.pdf.cell_fit import DISPLACEMENTS, LENGTHS, RefinableCrystal

PARAMETERS = PDFParameters(1.5, 12.0, 0.02, qmin=0.6, qmax=22.0, qdamp=0.03, qbroad=0.02)
POINTS = list(range(0, len(PARAMETERS.r), 4))
HEXAGONAL = [[2.66, 0, 0], [-1.33, 2.3036, 0], [0, 0, 4.95]]
CRYSTALS = {
    "fcc": AtomicStructure(
        np.eye(3) * 3.6,
        [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
        ["Cu"] * 4,
        [0.006] * 4,
    ),
    "hcp": AtomicStructure(
        HEXAGONAL, [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]], ["Zn"] * 2, [0.01] * 2
    ),
    "oblique": AtomicStructure(
        [[4.1, 0.3, 0], [0.2, 5.0, 0.4], [0, -0.3, 4.6]],
        [[0, 0, 0], [0.4, 0.5, 0.6]],
        ["Na", "Cl"],
        [0.01, 0.015],
        [1.0, 0.8],
    ),
}


def changed(crystal: AtomicStructure, factors: np.ndarray, uiso: float) -> AtomicStructure:
    """With other lengths (3,) and Uiso."""
    lattice = crystal.lattice * factors[:, None]
    atoms = crystal.frac, crystal.elements, uiso * crystal.uiso, crystal.occupancy
    return AtomicStructure(lattice, *atoms)


def by_axis(refinable: RefinableCrystal, factors: np.ndarray) -> np.ndarray:
    """(3,) factors of the edges from those of the lengths that may differ."""
    of_edges = np.empty(3)
    for axes, factor in zip(refinable.axes.values(), factors, strict=True):
        of_edges[axes] = factor
    return of_edges


@pytest.mark.parametrize("name", CRYSTALS)
@settings(max_examples=10)
@given(st.data())
def test_any_cell_and_displacements_are_found_again(name, data):
    crystal = CRYSTALS[name]
    refinable = RefinableCrystal(crystal, PARAMETERS, POINTS)
    n = len(refinable.axes)
    factors = np.array(data.draw(st.lists(st.floats(0.97, 1.03), min_size=n, max_size=n)))
    uiso = data.draw(st.floats(0.6, 3))
    other = changed(crystal, by_axis(refinable, factors), uiso)
    _, g = calculate_pdf(other, PARAMETERS)
    # Two meshes, each within 1.1e-5 of the exact sum: 9.3e-6 apart at most in 450 draws, 1.3e-5 in
    # one of many more.
    np.testing.assert_allclose(
        refinable.pdf(factors, uiso), g[POINTS], atol=2e-5 * np.abs(g).max(), rtol=0
    )
    away = data.draw(st.floats(-0.004, 0.004))
    fit = refinable.fit(g[POINTS], factors + away)
    np.testing.assert_allclose(fit.lengths, factors, atol=2e-6)
    assert fit.uiso == pytest.approx(uiso, rel=2e-4)
    np.testing.assert_allclose(fit.g, g[POINTS], atol=3e-5 * np.abs(g).max(), rtol=0)


def test_what_is_left_is_orthogonal_to_what_a_refinement_takes_up():
    refinable = RefinableCrystal(CRYSTALS["hcp"], PARAMETERS, POINTS)
    rng = np.random.default_rng(0)
    start = np.ones(2)
    g = refinable.pdf(start, 1.0)
    sample = g + 0.02 * np.abs(g).max() * rng.normal(size=g.size)
    fit = refinable.fit(sample, start)
    left = sample - fit.g
    for change in ([1e-3, 0, 0], [0, 1e-3, 0], [0, 0, 1e-2]):
        ahead, behind = (
            refinable.pdf(fit.lengths + sign * np.array(change[:2]), fit.uiso + sign * change[2])
            for sign in (1, -1)
        )
        tangent = ahead - behind
        overlap = tangent @ left / np.linalg.norm(tangent) / np.linalg.norm(left)
        assert abs(overlap) < 1e-3


def test_another_crystal_is_refused():
    refinable = RefinableCrystal(CRYSTALS["fcc"], PARAMETERS, POINTS)
    for factor, uiso in ((LENGTHS[1] * 1.02, 1), (1, 1.5 * DISPLACEMENTS[1])):
        other = changed(CRYSTALS["fcc"], np.full(3, factor), uiso)
        _, g = calculate_pdf(other, PARAMETERS)
        with pytest.raises(ValueError, match="no cell and displacements"):
            refinable.fit(g[POINTS], [factor])


def test_form_factors_of_one_element_weight_all_pairs_alike_and_of_several_are_refused():
    falling = replace(PARAMETERS, form_factors="q_dependent")
    start, crystal = np.ones(1), CRYSTALS["fcc"]
    plain = RefinableCrystal(crystal, PARAMETERS, POINTS).pdf(start, 1.0)
    found = RefinableCrystal(crystal, falling, POINTS).pdf(start, 1.0)
    np.testing.assert_array_equal(found, plain)
    with pytest.raises(ValueError, match=r"'q_dependent': prepared crystals .* 'constant' only"):
        RefinableCrystal(CRYSTALS["oblique"], falling, POINTS)
