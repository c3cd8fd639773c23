"""G(r) with form factors that fall with Q, against sums over pairs of atoms and over Q."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf
from pdfcalc.crystals.displacements import NOWHERE, find_sites
from pdfcalc.crystals.scattering import form_factor
from pdfcalc.pdf.lattice import Change, LatticeCrystal

CONSTANT = PDFParameters(0.0, 9.0, 0.02, qmin=0.6, qmax=20.0, qdamp=0.03, qbroad=0.01)
FALLING = replace(CONSTANT, form_factors="q_dependent")
GOLD_ALUMINIDE = AtomicStructure(
    [[4.1, 0.3, 0], [0.2, 4.4, 0.4], [0, -0.3, 4.6]],
    [[0, 0, 0], [0.4, 0.5, 0.6], [0.5, 0.1, 0.4]],
    ["Au", "Al", "Al"],
    [0.010, 0.015, 0.020],
    [1.0, 0.8, 1.0],
)
ENGINES = ["lattice", "pairs"]


def difference(g: np.ndarray, other: np.ndarray) -> float:
    """Largest, over the largest |G|."""
    return float(np.abs(g - other).max() / np.abs(other).max())


def partial_sums(atoms: AtomicStructure, parameters: PDFParameters) -> np.ndarray:
    """G(r) with no engine and no fast transform: every pair, every image, every sine."""
    grid = parameters.extended_grid
    r, padded = grid.r, 1 << (grid.size - 1).bit_length()
    q = np.arange(1, padded) * math.pi / (padded * grid.step)
    sines = np.sin(q[:, None] * r)
    images = np.indices((9, 9, 9)).reshape(3, -1).T - 4
    n_atoms = atoms.occupancy.sum()
    f = np.stack(
        [form_factor(label, np.minimum(q, 20.0) / (4 * math.pi)) for label in atoms.elements]
    )
    mean = (atoms.occupancy[:, None] * f).sum(axis=0) / n_atoms
    spectrum = np.zeros(len(q))
    for i in range(len(atoms.frac)):
        for j in range(len(atoms.frac)):
            both = atoms.occupancy[i] * atoms.occupancy[j]
            d = np.linalg.norm((atoms.frac[j] - atoms.frac[i] + images) @ atoms.lattice, axis=1)
            d = d[(d > 0.1) & (d < r[-1] + 2)]
            sigma = np.sqrt((atoms.uiso[i] + atoms.uiso[j]) * (1 + (parameters.qbroad * d) ** 2))
            peaks = np.exp(-0.5 * ((r[:, None] - d) / sigma) ** 2) / (d * sigma)
            partial = both / n_atoms * peaks.sum(axis=1) / math.sqrt(2 * math.pi)
            partial -= 4 * math.pi * r * both / n_atoms / atoms.volume
            spectrum += f[i] * f[j] / mean**2 * (sines @ partial)
    spectrum[(q < parameters.qmin) | (q >= parameters.qmax)] = 0
    g = 2 / padded * (spectrum @ sines) * np.exp(-0.5 * (parameters.qdamp * r) ** 2)
    return g[: len(parameters.r)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_compound_is_the_sum_of_its_partials_each_weighted_in_q(engine):
    expected = partial_sums(GOLD_ALUMINIDE, FALLING)
    _, g = calculate_pdf(GOLD_ALUMINIDE, FALLING, engine)
    assert difference(g, expected) < 2e-5
    _, constant = calculate_pdf(GOLD_ALUMINIDE, CONSTANT, engine)
    assert difference(constant, expected) > 0.02


def test_a_molecule_is_what_debye_scattering_gives():
    """F(Q) of atoms without surroundings, by the Debye sum; transformed by the trapezoid rule.

    C. L. Farrow and S. J. L. Billinge, Acta Cryst. A65 (2009) 232, DOI 10.1107/S0108767309009714.
    """
    positions = np.array([[0, 0, 0], [2.1, 0, 0], [-0.4, 2.3, 0.5], [0.3, -0.7, 2.6]])
    labels, uiso = ["Pb", "O", "O", "Ti"], np.array([0.03, 0.035, 0.04, 0.03])
    parameters = PDFParameters(0.0, 8.0, 0.02, qmax=22.0, form_factors="q_dependent")
    q = np.linspace(1e-3, 22.0, 2000)
    f = np.stack([form_factor(label, q / (4 * math.pi)) for label in labels])
    total = np.zeros(len(q))
    for i in range(4):
        for j in set(range(4)) - {i}:
            d = np.linalg.norm(positions[i] - positions[j])
            debye_waller = np.exp(-0.5 * (uiso[i] + uiso[j]) * q**2)
            total += f[i] * f[j] * np.sin(q * d) / d * debye_waller
    total /= 4 * f.mean(axis=0) ** 2
    expected = 2 / math.pi * np.trapezoid(total * np.sin(np.outer(parameters.r, q)), q, axis=1)
    _, g = calculate_pdf(AtomicStructure.finite(positions, labels, uiso), parameters)
    assert difference(g, expected) < 1e-4


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("engine", ENGINES)
def test_one_element_is_as_with_constant_form_factors(engine, seed):
    rng = np.random.default_rng(seed)
    atoms = AtomicStructure(
        4.5 * np.eye(3), rng.random((3, 3)), ["Zr"] * 3, [0.01, 0.01, 0.02], [1.0, 0.7, 1.0]
    )
    _, g = calculate_pdf(atoms, FALLING, engine)
    _, expected = calculate_pdf(atoms, CONSTANT, engine)
    assert difference(g, expected) < 1e-12


def test_engines_agree():
    _, lattice = calculate_pdf(GOLD_ALUMINIDE, FALLING, "lattice")
    _, pairs = calculate_pdf(GOLD_ALUMINIDE, FALLING, "pairs")
    assert difference(lattice, pairs) < 2e-5


def test_partials_add_up():
    _, whole = calculate_pdf(GOLD_ALUMINIDE, FALLING, "pairs")
    parts = [("Au", "Au"), ("Al", "Au"), ("Al", "Al")]
    added = sum(calculate_pdf(GOLD_ALUMINIDE, FALLING, "pairs", pair)[1] for pair in parts)
    assert difference(added, whole) < 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form_factors": "falling"}, "form_factors = 'falling': must be 'constant' or"),
        ({"scattering": "neutron"}, "form_factors = 'q_dependent' is for X-rays by the table"),
        ({"scattering_lengths": {"Au": 70.0}}, "is for X-rays by the table"),
        ({"qmax": None}, "with qmax = None: the table ends at Q = 75.4 1/A"),
        ({"qmax": 80.0}, "with qmax = 80.0: the table ends"),
    ],
)
def test_what_has_no_form_factors_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(FALLING, **change)


def test_what_takes_constant_ones_only_says_so():
    with pytest.raises(ValueError, match="engine 'diffpy' takes them at Q = 0 only"):
        calculate_pdf(GOLD_ALUMINIDE, FALLING, "diffpy")
    with pytest.raises(ValueError, match=r"no X-ray form factor is tabulated for H\+"):
        calculate_pdf(
            AtomicStructure(4 * np.eye(3), [[0] * 3, [0.5] * 3], ["H+", "Au"], [0.01] * 2), FALLING
        )
    sites, _ = find_sites(np.zeros((1, 3)), 4 * np.eye(3))
    with pytest.raises(ValueError, match="prepared crystals and fits of defects take 'constant'"):
        LatticeCrystal(sites, 1, "Cu", 0.01).pdfs(
            [Change(NOWHERE, NOWHERE, "Cu", 0.01)], FALLING, [10]
        )
