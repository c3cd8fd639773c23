"""Powder patterns against pymatgen's XRDCalculator, and what must hold for any crystal."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS, XRDCalculator
from pymatgen.core import Element, Lattice, Structure

from pdfcalc import AtomicStructure, PowderParameters, calculate_powder_pattern, powder_lines
from pdfcalc.crystals.scattering import form_factor
from pdfcalc.powder.pattern import PowderLines

PARAMETERS = PowderParameters()
FCC = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
HALF = [[0, 0, 0], [0.5, 0.5, 0.5]]


def crystal(lattice, sites) -> AtomicStructure:
    """A crystal of (element, position, Uiso, occupancy)."""
    elements, frac, uiso, occupancy = zip(*sites, strict=True)
    return AtomicStructure(lattice, frac, elements, uiso, occupancy)


def of_one_element(element, lattice, frac, uiso=0.006) -> AtomicStructure:
    return crystal(lattice, [(element, site, uiso, 1.0) for site in frac])


def hexagonal(a, c) -> np.ndarray:
    return np.array([[a, 0, 0], [-a / 2, a * 0.75**0.5, 0], [0, 0, c]])


def metals() -> dict[str, AtomicStructure]:
    """One of each space group of the hosts."""
    tin = [[0, 0, 0], [0.5, 0, 0.25], [0.5, 0.5, 0.5], [0, 0.5, 0.75]]
    x = 0.15  # 8h: x, x + 1/2, 0
    bismuth = [[x, 0.5 + x, 0], [-x, 0.5 - x, 0], [0.5 - x, x, 0], [0.5 + x, -x, 0]]
    bismuth += [[0.5 + u, 0.5 + v, 0.5 + w] for u, v, w in bismuth]
    magnesium = [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    return {
        "225": of_one_element("Cu", 3.615 * np.eye(3), FCC),
        "194": of_one_element("Mg", hexagonal(3.209, 5.211), magnesium, 0.02),
        "229": of_one_element("Fe", 2.866 * np.eye(3), HALF, 0.004),
        "139": of_one_element("In", np.diag([3.252, 3.252, 4.947]), HALF, 0.025),
        "141": of_one_element("Sn", np.diag([5.832, 5.832, 3.182]), tin, 0.014),
        "140": of_one_element("Bi", np.diag([8.518, 8.518, 4.164]), bismuth, 0.02),
    }


def compounds() -> dict[str, AtomicStructure]:
    halite = [("Na", site, 0.02, 1.0) for site in FCC]
    halite += [("Cl", np.add(site, 0.5), 0.016, 1.0) for site in FCC]
    x = 0.305
    oxygen = [[x, x, 0], [-x, -x, 0], [0.5 + x, 0.5 - x, 0.5], [0.5 - x, 0.5 + x, 0.5]]
    rutile = [("Ti", site, 0.005, 1.0) for site in HALF]
    rutile += [("O", site, 0.007, 0.93) for site in oxygen]
    alloy = [(e, site, 0.006, n) for site in FCC for e, n in (("Cu", 0.7), ("Au", 0.25))]
    return {
        "NaCl": crystal(5.640 * np.eye(3), halite),
        "TiO2, oxygen missing": crystal(np.diag([4.594, 4.594, 2.959]), rutile),
        "Cu0.7Au0.25": crystal(3.72 * np.eye(3), alloy),
        "triclinic": crystal(
            [[3.1, 0, 0], [0.7, 3.6, 0], [-0.4, 0.9, 4.2]],
            [("Ni", [0, 0, 0], 0.004, 1.0), ("Ti", [0.4, 0.1, 0.7], 0.009, 0.6)],
        ),
    }


CRYSTALS = metals() | compounds()


def by_pymatgen(atoms: AtomicStructure, b: dict[str, float]):
    """XRDCalculator's lines, on the scale of ours; b by element, A^2."""
    sites: dict[tuple[float, ...], dict[str, float]] = {}
    for element, frac, n in zip(atoms.elements, atoms.frac.tolist(), atoms.occupancy, strict=True):
        sites.setdefault(tuple(frac), {})[str(element)] = n
    structure = Structure(Lattice(atoms.lattice), list(sites.values()), list(sites))
    calculator = XRDCalculator(PARAMETERS.wavelength, debye_waller_factors=b)
    found = calculator.get_pattern(structure, False, PARAMETERS.two_theta)
    return found.x, np.array(found.y) / atoms.volume**2, found


def stored_lines(lines: PowderLines, least=1e-5) -> np.ndarray:
    """Which lines XRDCalculator gives: in the range, and not too weak."""
    low, high = PARAMETERS.two_theta
    inside = (lines.two_theta >= low) & (lines.two_theta <= high)
    return inside & (lines.intensity > least * lines.intensity[inside].max())


def pymatgen_form_factor(element: str, s) -> np.ndarray:
    s_squared = np.asarray(s)[..., None] ** 2
    a, b = np.array(ATOMIC_SCATTERING_PARAMS[element]).T
    return Element(element).Z - 41.78214 * (s_squared * a * np.exp(-b * s_squared)).sum(axis=-1)


@pytest.mark.parametrize("vibrating", [True, False])
@pytest.mark.parametrize("name", CRYSTALS)
def test_lines_are_those_of_pymatgen_where_its_form_factors_are_used(name, vibrating, monkeypatch):
    monkeypatch.setattr("pdfcalc.powder.reflections.form_factor", pymatgen_form_factor)
    atoms, b = CRYSTALS[name], {}
    if vibrating:
        elements, uiso = atoms.elements.tolist(), atoms.uiso.tolist()
        b = {e: 8 * math.pi**2 * u for e, u in zip(elements, uiso, strict=True)}
    else:
        atoms = AtomicStructure(
            *(atoms.lattice, atoms.frac, atoms.elements), [1e-12] * len(atoms.frac), atoms.occupancy
        )
    lines = powder_lines(atoms, PARAMETERS)
    chosen = stored_lines(lines)
    angles, intensities, pymatgen = by_pymatgen(atoms, b)
    np.testing.assert_allclose(lines.two_theta[chosen], angles, atol=1e-5)
    np.testing.assert_allclose(lines.d[chosen], pymatgen.d_hkls, rtol=1e-7)
    np.testing.assert_allclose(lines.intensity[chosen], intensities, rtol=1e-6)
    multiplicity = [sum(family["multiplicity"] for family in line) for line in pymatgen.hkls]
    assert lines.multiplicity[chosen].tolist() == multiplicity


@pytest.mark.parametrize("name", metals())
def test_of_an_element_only_form_factors_differ_from_pymatgen(name):
    atoms = CRYSTALS[name]
    element, uiso = str(atoms.elements[0]), float(atoms.uiso[0])
    lines = powder_lines(atoms, PARAMETERS)
    chosen = stored_lines(lines)
    _, intensities, _ = by_pymatgen(atoms, {element: 8 * math.pi**2 * uiso})
    s = 0.5 / lines.d[chosen]
    ratio = form_factor(element, s) / pymatgen_form_factor(element, s)
    np.testing.assert_allclose(lines.intensity[chosen] / intensities, ratio**2, rtol=1e-6)


def test_the_first_lines_of_copper():
    """Angles of the powder diffraction file, 04-0836; multiplicities of the cubic forms."""
    lines = powder_lines(CRYSTALS["225"], PARAMETERS)
    chosen = stored_lines(lines)
    assert lines.hkl[chosen][:4].tolist() == [[1, 1, 1], [2, 0, 0], [2, 2, 0], [3, 1, 1]]
    assert lines.multiplicity[chosen][:4].tolist() == [8, 6, 12, 24]
    assert lines.two_theta[chosen][:3] == pytest.approx([43.297, 50.433, 74.130], abs=0.03)


@st.composite
def structures(draw) -> AtomicStructure:
    """A few atoms of up to three elements in a skewed cell, some of them partly there."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 5))
    lattice = np.diag(rng.uniform(3, 5, 3)) + rng.uniform(-0.6, 0.6, (3, 3))
    elements, uiso = rng.choice(["Ni", "Pb2+", "Ti"], n), rng.choice([0.004, 0.009], n)
    return AtomicStructure(lattice, rng.random((n, 3)), elements, uiso, rng.uniform(0.1, 1, n))


def assert_same(first: AtomicStructure, second: AtomicStructure, factor=1.0) -> None:
    _, one = calculate_powder_pattern(first, PARAMETERS)
    _, other = calculate_powder_pattern(second, PARAMETERS)
    # A line half-way between two points may be cut off a point further, where little of it is left.
    np.testing.assert_allclose(factor * one, other, rtol=1e-6, atol=1e-7 * other.max())


@settings(max_examples=20)
@given(structures(), st.tuples(*[st.integers(1, 3)] * 3))
def test_a_supercell_has_the_pattern_of_its_cell(atoms, repeats):
    cells = np.indices(repeats).reshape(3, -1).T
    n, frac = len(cells), (atoms.frac[None] + cells[:, None]).reshape(-1, 3) / repeats
    arrays = (np.tile(values, n) for values in (atoms.elements, atoms.uiso, atoms.occupancy))
    assert_same(atoms, AtomicStructure(atoms.lattice * np.array(repeats)[:, None], frac, *arrays))


@settings(max_examples=20)
@given(structures(), st.integers(0, 2**32 - 1))
def test_origin_orientation_and_order_do_not_matter(atoms, seed):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(len(atoms.frac))
    arrays = (values[order] for values in (atoms.elements, atoms.uiso, atoms.occupancy))
    moved = (atoms.frac + rng.normal(size=3))[order]
    assert_same(atoms, AtomicStructure(atoms.lattice @ rotation, moved, *arrays))


@settings(max_examples=20)
@given(structures(), st.floats(0.1, 1))
def test_intensities_go_with_the_square_of_the_occupancy(atoms, factor):
    fewer = AtomicStructure(
        atoms.lattice, atoms.frac, atoms.elements, atoms.uiso, factor * atoms.occupancy
    )
    assert_same(atoms, fewer, factor**2)


@settings(max_examples=20)
@given(structures())
def test_a_pattern_holds_the_intensity_of_its_lines(atoms):
    parameters = PowderParameters(two_theta=(1, 60), points=1181, fwhm=0.1)
    lines = powder_lines(atoms, parameters)
    angles, pattern = calculate_powder_pattern(atoms, parameters)
    inside = lines.two_theta < 60 - parameters.reach
    if inside.sum() == len(inside):
        assert pattern.sum() * parameters.step == pytest.approx(lines.intensity.sum(), rel=1e-5)
    assert len(angles) == len(pattern) == 1181
    assert pattern.min() >= 0


def test_a_line_has_the_stated_width():
    iron = CRYSTALS["229"]
    parameters = PowderParameters(two_theta=(44, 46), points=2001, fwhm=0.3)
    angles, pattern = calculate_powder_pattern(iron, parameters)
    wide = angles[pattern >= 0.5 * pattern.max()]
    assert wide[-1] - wide[0] == pytest.approx(0.3, abs=0.003)
    [place] = powder_lines(iron, PowderParameters(two_theta=(44, 46))).two_theta
    assert angles[pattern.argmax()] == pytest.approx(place, abs=0.001)


def test_no_line_is_no_intensity():
    _, pattern = calculate_powder_pattern(CRYSTALS["229"], PowderParameters(two_theta=(20, 25)))
    np.testing.assert_array_equal(pattern, np.zeros(2001))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"wavelength": 0.0}, r"wavelength = 0.0: must be 0.2 to 20 A"),
        ({"wavelength": math.nan}, "wavelength = nan"),
        ({"two_theta": (90.0, 20.0)}, "two_theta = 90.0, 20.0: must rise"),
        ({"two_theta": (20.0, 180.0)}, "to 170 degrees at most"),
        ({"points": 1}, "points = 1: must be 2 or more"),
        ({"points": 500}, r"fwhm = 0.15: must be at least two steps of the angles, 0.4\d* degrees"),
        ({"fwhm": 3.0}, "at most 2: give more points or a wider line"),
    ],
)
def test_parameters_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PowderParameters(**settings)


def test_what_has_no_pattern_is_refused():
    particle = AtomicStructure.finite([[0, 0, 0]], ["Cu"], [0.006])
    with pytest.raises(ValueError, match="a particle without periodic images has no reflections"):
        calculate_powder_pattern(particle, PARAMETERS)
    with pytest.raises(ValueError, match="'corner' is not the symbol"):
        calculate_powder_pattern(of_one_element("corner", np.eye(3) * 4, FCC), PARAMETERS)
    huge = of_one_element("Cu", np.eye(3) * 500, FCC)
    with pytest.raises(ValueError, match=r"125000000 A\^3 has more reflections .*: take a smaller"):
        calculate_powder_pattern(huge, PARAMETERS)
