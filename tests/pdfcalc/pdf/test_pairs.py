"""Partial PDFs and particles, against sums over pairs written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf

LENGTHS = {"Cu": 29.0, "Au": 79.0, "Ti": -3.4}


@st.composite
def alloys(draw) -> AtomicStructure:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(2, 6))
    return AtomicStructure(
        np.diag(rng.uniform(3, 5, 3)) + rng.uniform(-0.5, 0.5, (3, 3)),
        rng.random((n, 3)),
        rng.choice(list(LENGTHS), n),
        rng.choice([0.004, 0.009], n),
        rng.choice([1.0, 0.6], n),
    )


@settings(max_examples=10)
@given(alloys())
@pytest.mark.parametrize("engine", ["lattice", "pairs"])
def test_partials_add_up_to_the_whole(engine, structure):
    parameters = PDFParameters(*(0.0, 8.0, 0.02, 0.6, 23.6, 0.03, 0.01), scattering_lengths=LENGTHS)
    powers = [LENGTHS[element] for element in structure.elements]
    assume(abs(np.dot(powers, structure.occupancy)) > 5)
    _, whole = calculate_pdf(structure, parameters, engine)
    elements = sorted(set(structure.elements.tolist()))
    parts = [
        calculate_pdf(structure, parameters, engine, pair=pair)[1]
        for pair in itertools.combinations_with_replacement(elements, 2)
    ]
    np.testing.assert_allclose(sum(parts), whole, atol=1e-9 * np.abs(parts).max())
    if len(elements) > 1:
        ab, ba = elements[:2], elements[1::-1]
        np.testing.assert_array_equal(
            calculate_pdf(structure, parameters, engine, pair=tuple(ab))[1],
            calculate_pdf(structure, parameters, engine, pair=tuple(ba))[1],
        )


def test_a_partial_is_the_sublattice_weighted_by_its_scattering():
    """Of one element: its own G times c b^2 / <b>^2, with c its fraction of the atoms."""
    frac = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    alloy = AtomicStructure(3.75 * np.eye(3), frac, ["Au", "Cu", "Cu", "Cu"], [0.008] * 4)
    copper = AtomicStructure(3.75 * np.eye(3), frac[1:], ["Cu"] * 3, [0.008] * 3)
    parameters = PDFParameters(0.0, 15.0, 0.01, 0.6, 23.6, 0.03, 0.01)
    _, partial = calculate_pdf(alloy, parameters, pair=("Cu", "Cu"))
    _, alone = calculate_pdf(copper, parameters)
    weight = 0.75 * 29**2 / (0.75 * 29 + 0.25 * 79) ** 2
    np.testing.assert_allclose(partial, weight * alone, atol=1e-6 * np.abs(alone).max())


def test_an_element_that_is_not_there_is_refused():
    alloy = AtomicStructure(3 * np.eye(3), [[0, 0, 0], [0.5] * 3], ["Cu", "Zn"], [0.01] * 2)
    with pytest.raises(ValueError, match="no 'Au': its elements are Cu, Zn"):
        calculate_pdf(alloy, PDFParameters(), pair=("Cu", "Au"))


def test_pairs_that_do_not_scatter_leave_nothing():
    alloy = AtomicStructure(3 * np.eye(3), [[0, 0, 0], [0.5] * 3], ["Cu", "Zn"], [0.01] * 2)
    parameters = PDFParameters(rmax=8.0, scattering_lengths={"Zn": 0.0})
    _, partial = calculate_pdf(alloy, parameters, pair=("Cu", "Zn"))
    np.testing.assert_array_equal(partial, 0)
    _, whole = calculate_pdf(alloy, parameters)
    _, copper = calculate_pdf(alloy, parameters, pair=("Cu", "Cu"))
    np.testing.assert_allclose(copper, whole, rtol=1e-12)


PARTICLE = (
    ["Cu", "Cu", "Au", "Ti"],
    np.array([[0, 0, 0], [2.5, 0.1, 0], [0.3, 2.7, -0.4], [-3.0, 40.0, 1.0]]),
    [0.004, 0.009, 0.006, 0.01],
    [1.0, 0.6, 1.0, 0.8],
)


def _sum_over_pairs(r: np.ndarray, qbroad: float) -> np.ndarray:
    elements, positions, uiso, occupancy = PARTICLE
    b = [LENGTHS[element] * part for element, part in zip(elements, occupancy, strict=True)]
    g = np.zeros_like(r)
    for i, j in itertools.permutations(range(4), 2):
        d = float(np.linalg.norm(positions[i] - positions[j]))
        sigma = math.sqrt((uiso[i] + uiso[j]) * (1 + (qbroad * d) ** 2))
        peak = np.exp(-0.5 * ((r - d) / sigma) ** 2) / (math.sqrt(2 * math.pi) * sigma)
        g += b[i] * b[j] / d * peak
    n = sum(occupancy)
    return g / (n * (sum(b) / n) ** 2)


def test_a_particle_is_a_sum_over_its_pairs():
    elements, positions, uiso, occupancy = PARTICLE
    particle = AtomicStructure.finite(positions, elements, uiso, occupancy)
    parameters = PDFParameters(rmax=45.0, qbroad=0.02, scattering_lengths=LENGTHS)
    r, g = calculate_pdf(particle, parameters)
    expected = _sum_over_pairs(r, 0.02)
    np.testing.assert_allclose(g, expected, atol=2e-5 * np.abs(expected).max())


def test_the_frame_of_a_particle_does_not_matter():
    elements, positions, uiso, occupancy = PARTICLE
    lattice = np.array([[2.0, 0, 0], [0.5, 3, 0], [0, -0.2, 1]])
    framed = AtomicStructure(
        lattice, positions @ np.linalg.inv(lattice), elements, uiso, occupancy, periodic=False
    )
    parameters = PDFParameters(rmax=45.0, qmax=20.0, scattering_lengths=LENGTHS)
    _, g = calculate_pdf(framed, parameters)
    particle = AtomicStructure.finite(positions, elements, uiso, occupancy)
    _, expected = calculate_pdf(particle, parameters)
    np.testing.assert_allclose(g, expected, atol=1e-6 * np.abs(expected).max())


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_atoms_in_many_cells_are_a_sum_over_their_images(seed, periodic, one_element):
    """Cells of the search smaller and larger than the crystal, skewed, with images and without."""
    rng = np.random.default_rng(seed)
    lattice = np.diag(rng.choice([3.0, 9.0, 16.0, 25.0], 3)) + rng.uniform(-1, 1, (3, 3))
    n = rng.integers(2, 7)
    frac, elements = rng.uniform(-2, 2, (n, 3)), rng.choice(["Cu", "Au"][: 2 - one_element], n)
    structure = AtomicStructure(lattice, frac, elements, [0.01] * n, periodic=periodic)
    parameters = PDFParameters(rmax=14.0, rstep=0.02)
    r, g = calculate_pdf(structure, parameters, "pairs")
    images = (np.indices((27, 27, 27)).reshape(3, -1).T - 13) @ lattice
    images = images[np.linalg.norm(images, axis=1) < 40] if periodic else np.zeros((1, 3))
    b = np.where(elements == "Cu", 29.0, 79.0)
    wrapped = (frac - np.floor(frac) if periodic else frac) @ lattice
    expected = -4 * math.pi * structure.number_density * r
    for i, j in itertools.product(range(n), repeat=2):
        d = np.linalg.norm(wrapped[j] - wrapped[i] + images, axis=1)
        d = d[(d > 0.01) & (d < 15.5)]
        peaks = np.exp(-0.5 * (r[:, None] - d) ** 2 / 0.02) / d / math.sqrt(2 * math.pi * 0.02)
        expected += b[i] * b[j] * n / b.sum() ** 2 * peaks.sum(axis=1)
    # Atoms may come arbitrarily near; there peaks are out of all proportion.
    apart = r > 1.5
    np.testing.assert_allclose(
        g[apart], expected[apart], atol=2e-5 * (1 + np.abs(expected[apart]).max())
    )


@pytest.mark.parametrize("bounds", [(0.002, 0.03), (0.003, 0.3)])
def test_many_different_uiso_are_interpolated(bounds):
    rng = np.random.default_rng(0)
    frac, uiso = rng.random((40, 3)), np.exp(rng.uniform(*np.log(bounds), 40))
    structure = AtomicStructure(11 * np.eye(3), frac, ["Ni"] * 40, uiso)
    parameters = PDFParameters(1.5, 15.0, 0.01, 0.6, 23.6)
    _, g = calculate_pdf(structure, parameters, "pairs")
    # The lattice engine keeps all 820 sums of Uiso apart.
    _, expected = calculate_pdf(structure, parameters, "lattice")
    np.testing.assert_allclose(g, expected, atol=2e-5 * np.abs(expected).max())


def test_the_lattice_engine_refuses_a_particle():
    particle = AtomicStructure.finite([[0, 0, 0], [2.5, 0, 0]], ["Cu"] * 2, [0.01] * 2)
    with pytest.raises(ValueError, match="use engine='pairs'"):
        calculate_pdf(particle, PDFParameters(), "lattice")


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_every_pair_is_met_once_whatever_the_cell(seed):
    """Skewed cells of either hand, and atoms outside of them or on their edges."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8))
    lattice = rng.normal(size=(3, 3)) * 3
    assume(np.linalg.norm(np.linalg.inv(lattice), axis=0).max() < 0.5)
    frac = rng.choice([rng.uniform(-2, 2, (n, 3)), rng.integers(-2, 3, (n, 3)) - 1e-17])
    elements = rng.choice(list(LENGTHS), n)
    powers = np.array([LENGTHS[element] for element in elements])
    assume(abs(powers.sum()) > 5)
    structure = AtomicStructure(lattice, frac, elements, np.full(n, 0.02))
    parameters = PDFParameters(0.0, 7.0, 0.05, qmax=None, scattering_lengths=LENGTHS)
    _, g = calculate_pdf(structure, parameters, "pairs")
    cells = np.indices((25,) * 3).reshape(3, -1).T - 12
    expected = -4 * math.pi * n / structure.volume * parameters.r
    for i, j in itertools.product(range(n), repeat=2):
        d = np.linalg.norm((frac[j] - frac[i] + cells) @ lattice, axis=1)
        d = d[(d > 0.01) & (d < 9)]
        peaks = np.exp(-((parameters.r[:, None] - d) ** 2) / 0.08) / (d * math.sqrt(0.08 * math.pi))
        expected += powers[i] * powers[j] * n / powers.sum() ** 2 * peaks.sum(axis=1)
    np.testing.assert_allclose(g[1:], expected[1:], atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("n_atoms", [30, 500])
def test_pairs_of_few_sorts_are_counted_as_those_of_many_are_added(n_atoms):
    """500 atoms have more pairs than are counted before the counts are put down."""
    rng = np.random.default_rng(0)
    atoms = 18.075 * np.eye(3), rng.random((n_atoms, 3))
    labels = rng.choice(["Cu", "Ni", "Zn", "Ga"], n_atoms)
    same = dict.fromkeys(["Cu", "Ni", "Zn", "Ga"], 30.0)
    parameters = PDFParameters(0.0, 30.0, 0.02, 0.6, 23.6, 0.03, 0.01, scattering_lengths=same)
    found = [
        calculate_pdf(
            AtomicStructure(*atoms, names, np.full(n_atoms, 0.0065)), parameters, "pairs"
        )[1]
        for names in (labels, ["Cu"] * n_atoms)
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-8 * np.abs(found[0]).max())
