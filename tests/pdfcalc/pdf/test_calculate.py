"""What must hold for any structure, and what must be refused."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf
from pdfcalc.pdf.calculate import _faster_engine
from pdfcalc.pdf.pairs import pair_peaks
from pdfcalc.pdf.species import species_of, species_pairs

PARAMETERS = PDFParameters(0.0, 12.0, 0.02, 0.6, 23.6, 0.03, 0.01)
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def copper(frac=FCC, lattice=None) -> AtomicStructure:
    lattice = 3.615 * np.eye(3) if lattice is None else lattice
    return AtomicStructure(lattice, frac, ["Cu"] * len(frac), [0.0065] * len(frac))


@st.composite
def structures(draw) -> AtomicStructure:
    """A few atoms of up to three elements in a skewed cell, some of them partly there."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    n = draw(st.integers(1, 6))
    lattice = np.diag(rng.uniform(3, 6, 3)) + rng.uniform(-0.6, 0.6, (3, 3))
    elements = rng.choice(["Ni", "Pb", "Ti"], n)
    occupancy = rng.choice([1.0, 0.7], n)
    return AtomicStructure(
        lattice, rng.random((n, 3)), elements, rng.choice([0.004, 0.009], n), occupancy
    )


def _assert_same(first: AtomicStructure, second: AtomicStructure, engine: str) -> None:
    _, g = calculate_pdf(first, PARAMETERS, engine)
    _, h = calculate_pdf(second, PARAMETERS, engine)
    np.testing.assert_allclose(g, h, atol=2e-5 * np.abs(g).max())


def _with(structure: AtomicStructure, **changes) -> AtomicStructure:
    fields = ("lattice", "frac", "elements", "uiso", "occupancy")
    return AtomicStructure(**{name: changes.get(name, getattr(structure, name)) for name in fields})


@settings(max_examples=15)
@given(structures(), st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("engine", ["lattice", "pairs"])
def test_translation_rotation_and_order_do_not_matter(engine, structure, seed):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(len(structure.frac))
    moved = AtomicStructure(
        structure.lattice @ rotation,
        (structure.frac + rng.uniform(-2, 2, 3))[order],
        structure.elements[order],
        structure.uiso[order],
        structure.occupancy[order],
    )
    _assert_same(structure, moved, engine)


@settings(max_examples=10)
@given(structures(), st.tuples(*[st.integers(1, 3)] * 3))
@pytest.mark.parametrize("engine", ["lattice", "pairs"])
def test_a_supercell_is_the_same_crystal(engine, structure, repeats):
    cells = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 3)
    n = len(cells)
    larger = AtomicStructure(
        structure.lattice * np.array(repeats)[:, None],
        ((structure.frac[None] + cells[:, None]) / repeats).reshape(-1, 3),
        np.tile(structure.elements, n),
        np.tile(structure.uiso, n),
        np.tile(structure.occupancy, n),
    )
    _assert_same(structure, larger, engine)


@settings(max_examples=15)
@given(structures())
def test_engines_agree(structure):
    _, lattice = calculate_pdf(structure, PARAMETERS, "lattice")
    _, pairs = calculate_pdf(structure, PARAMETERS, "pairs")
    np.testing.assert_allclose(lattice, pairs, atol=2e-5 * np.abs(pairs).max())


def test_a_shell_holds_its_neighbours():
    """The area of the first fcc peak of g r, with d in the denominator, is 12 neighbours."""
    parameters = PDFParameters(rmax=6.0, rstep=0.005)
    structure = copper()
    distance = 3.615 / math.sqrt(2)
    peaks = pair_peaks(structure, species_pairs(species_of(structure, parameters)), parameters)
    r = parameters.extended_grid.r
    first = np.abs(r - distance) < 0.45
    area = peaks[first].sum() * parameters.rstep * distance / (4 * 29**2)
    assert area == pytest.approx(12, rel=1e-4)


def test_slope_before_the_first_peak_is_the_number_density():
    parameters = PDFParameters(rmax=2.0)
    r, g = calculate_pdf(copper(), parameters)
    before = r < 1.5
    np.testing.assert_allclose(g[before], -4 * math.pi * 4 / 3.615**3 * r[before], rtol=1e-9)


@pytest.mark.parametrize("engine", ["lattice", "pairs"])
def test_without_pairs_within_reach_only_the_density_is_left(engine):
    lonely = AtomicStructure(90 * np.eye(3), [[0, 0, 0]], ["Cu"], [0.0065])
    for structure, parameters in (
        (lonely, PDFParameters(rmax=5.0)),
        (copper(), PDFParameters(rmax=0.5)),
    ):
        r, g = calculate_pdf(structure, parameters, engine)
        np.testing.assert_allclose(g, -4 * math.pi * structure.number_density * r, atol=1e-12)


def test_grid_holds_multiples_of_rstep_from_rmin_up_to_rmax():
    r, g = calculate_pdf(copper(), PDFParameters(1.505, 5.0, 0.01, qmax=20.0))
    assert (r[0], r[-1], len(r)) == pytest.approx((1.51, 4.99, 349))
    full, whole = calculate_pdf(copper(), PDFParameters(0.0, 5.0, 0.01, qmax=20.0))
    np.testing.assert_array_equal(g, whole[full > 1.505])
    empty, nothing = calculate_pdf(copper(), PDFParameters(5.0, 5.0, 0.01, qmax=20.0))
    assert len(empty) == len(nothing) == 0


def test_zero_at_the_origin_and_damped_by_the_resolution():
    r, g = calculate_pdf(copper(), PARAMETERS)
    _, undamped = calculate_pdf(copper(), PDFParameters(0.0, 12.0, 0.02, 0.6, 23.6, 0.0, 0.01))
    assert (r[0], g[0]) == (0, 0)
    np.testing.assert_allclose(g, undamped * np.exp(-0.5 * (0.03 * r) ** 2), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qmin": 24.0}, "qmin = 24.0: must be less than qmax"),
        ({"rstep": 0.0}, "rstep = 0.0"),
        ({"rstep": 0.5}, "too coarse"),
        ({"rmin": 40.0}, "rmin = 40.0"),
        ({"qdamp": -0.1}, "qdamp = -0.1"),
        ({"rmax": math.nan}, "rmax = nan"),
        ({"scattering": "electron"}, "'xray' or 'neutron'"),
        ({"qdamp": None}, "qdamp = None"),
    ],
)
def test_senseless_parameters_are_refused(change, message):
    values = {"rmin": 0.0, "rmax": 30.0, "rstep": 0.01, "qmin": 0.6, "qmax": 23.6} | change
    with pytest.raises(ValueError, match=message):
        PDFParameters(**values)


def test_qmax_of_0_is_none_as_in_files():
    assert PDFParameters(qmax=0).qmax is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uiso": [-0.1] * 4}, "uiso = -0.1"),
        ({"uiso": [0.0] * 4}, "uiso = 0.0"),
        ({"uiso": [0.01] * 3}, "uiso has shape"),
        ({"lattice": np.ones((3, 3))}, "does not span a volume"),
        ({"frac": np.full((4, 3), np.nan)}, "frac contains a value that is not finite"),
        ({"frac": np.empty((0, 3)), "elements": [], "uiso": [], "occupancy": []}, "at least one"),
        ({"frac": np.zeros((3, 4))}, r"frac has shape \(3, 4\): expected \(N, 3\)"),
        ({"occupancy": [0.0, 1, 1, 1]}, "occupancy"),
        ({"occupancy": [1.5, 1, 1, 1]}, "occupancy"),
    ],
)
def test_senseless_structures_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        _with(copper(), **change)


def test_unknown_elements_and_engines_are_refused():
    with pytest.raises(ValueError, match="'Xx' is not the symbol"):
        calculate_pdf(_with(copper(), elements=["Xx"] * 4), PARAMETERS)
    with pytest.raises(ValueError, match="engine 'fast'"):
        calculate_pdf(copper(), PARAMETERS, "fast")
    mixed = AtomicStructure(
        4 * np.eye(3), [[0, 0, 0], [0.5] * 3], ["Ti", "Ni"], [0.01] * 2, [1.0, 3.37 / 10.3]
    )
    with pytest.raises(ValueError, match="average scattering power is zero"):
        calculate_pdf(mixed, PDFParameters(scattering="neutron"))


def test_more_kinds_of_atoms_than_can_be_paired_are_refused():
    rng = np.random.default_rng(0)
    uiso = rng.uniform(0.004, 0.009, 1001)
    loose = AtomicStructure(30 * np.eye(3), rng.random((1001, 3)), ["Cu"] * 1001, uiso)
    with pytest.raises(ValueError, match=r"1001 kinds of atoms, .* so round Uiso"):
        calculate_pdf(loose, PARAMETERS)


def test_calculating_needs_no_cluster_no_torch_and_no_other_package_of_structures():
    code = (
        "import sys; from pdfcalc import *; "
        "s = AtomicStructure([[3, 0, 0], [0, 3, 0], [0, 0, 3]], [[0, 0, 0]], ['Cu'], [0.01]); "
        "calculate_pdf(s, PDFParameters(rmax=4.0)); "
        "heavy = ('torch', 'dask', 'mpi4py', 'pymatgen', 'ase', 'diffpy', 'zarr'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_memory_of_the_pairs_engine_is_bounded():
    """3,000 atoms have nine million pairs; kept at once they would take far more."""
    code = (
        "import numpy as np, resource; from pdfcalc import *; "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "frac = np.random.default_rng(0).random((3000, 3)); "
        "s = AtomicStructure(36 * np.eye(3), frac, ['Cu'] * 3000, [0.006] * 3000); "
        "calculate_pdf(s, PDFParameters(rmax=8.0), 'pairs'); "
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 400


def test_the_engine_taken_is_the_one_that_suits():
    far = PDFParameters(rmax=30.0, qmax=23.6)
    cells = np.indices((5, 5, 5)).reshape(3, -1).T
    frac = ((FCC + cells[:, None]) / 5).reshape(-1, 3)[7:]
    assert _faster_engine(copper(frac, 18.1 * np.eye(3)), far) == "lattice"
    # Sites of which there are half as many as atoms save nothing.
    half = np.random.default_rng(0).random((200, 3)) * [1, 1, 0.5]
    twice = np.concatenate([half, half + np.array([0, 0, 0.5])])
    assert _faster_engine(copper(twice, 17.0 * np.eye(3)), far) == "pairs"
    particle = AtomicStructure.finite(frac * 18.1, ["Cu"] * len(frac), [0.006] * len(frac))
    assert _faster_engine(particle, far) == "pairs"
