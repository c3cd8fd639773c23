"""The lattice engine's counts, and variants of one crystal against their explicit atoms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf
from pdfcalc.crystals.displacements import Occupied, Sites, find_sites, lattice_isometries
from pdfcalc.pdf.lattice import Change, LatticeCrystal, PreparedCrystal
from pdfcalc.pdf.peaks import Shells

LATTICES = {
    "cubic": (3.6 * np.eye(3), 48),
    "tetragonal": (np.diag([3.2, 3.2, 4.9]), 16),
    "hexagonal": (np.array([[3.2, 0, 0], [-1.6, 1.6 * 3**0.5, 0], [0, 0, 5.2]]), 24),
    "orthorhombic": (np.diag([3.0, 4.0, 5.0]), 8),
    "triclinic": (np.array([[3.0, 0, 0], [0.4, 4.0, 0], [0.3, -0.7, 5.0]]), 2),
}


@pytest.mark.parametrize("name", LATTICES)
def test_isometries_are_the_lattice_point_group(name):
    lattice, order = LATTICES[name]
    operations = lattice_isometries(lattice)
    assert len(operations) == order
    vectors = np.random.default_rng(0).normal(size=(20, 3))
    for operation in operations:
        np.testing.assert_allclose(
            np.linalg.norm(vectors @ operation @ lattice, axis=1),
            np.linalg.norm(vectors @ lattice, axis=1),
        )


@pytest.mark.parametrize("name", LATTICES)
def test_displacements_of_a_class_have_the_same_distances(name):
    lattice, _ = LATTICES[name]
    repeats = np.array([3, 2, 3])
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.5, 0.1]])
    sites = Sites(frac, repeats, lattice * repeats[:, None])
    rng = np.random.default_rng(1)
    for _ in range(20):
        first, second = rng.integers(len(frac), size=2)
        cell = rng.integers(repeats)
        vector = (frac[second] + cell - frac[first]) / repeats
        flat = np.ravel_multi_index(tuple(cell), tuple(repeats))
        member = sites.vectors[sites.class_of[first, second, flat]]
        found, expected = (
            _all_distances(Shells(v[None], sites.lattice, 12.0)) for v in (member, vector)
        )
        np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 6)] * 3))
def test_sites_found_put_every_atom_back_where_it_was(seed, repeats):
    rng = np.random.default_rng(seed)
    unit = rng.random((rng.integers(1, 4), 3))
    cells = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 3)
    frac = ((unit[None] + cells[:, None]) / repeats).reshape(-1, 3)
    frac = frac[rng.random(len(frac)) < 0.9] + rng.integers(-2, 3, 3)
    if len(frac) == 0:
        return
    sites, occupied = find_sites(frac, np.eye(3))
    back = (sites.frac[occupied.site] + occupied.cell) / sites.repeats
    difference = back - frac
    np.testing.assert_allclose(difference, np.rint(difference), atol=1e-6)


def test_sites_of_a_supercell_with_defects_are_those_of_its_unit_cell():
    cells = np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), -1).reshape(-1, 3)
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    frac = ((fcc[None] + cells[:, None]) / 5).reshape(-1, 3)
    frac = np.concatenate([np.delete(frac, [3, 77, 210], axis=0), [[0.25, 0.05, 0.85]]])
    sites, _ = find_sites(frac, np.eye(3))
    assert np.prod(sites.repeats) >= 125
    assert len(sites.frac) <= 5


def test_counts_are_those_of_each_pair_by_itself():
    frac, repeats = np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), np.array([4, 3, 2])
    sites = Sites(frac, repeats, np.diag([12, 9, 6.1]))
    rng = np.random.default_rng(0)
    one, other = (
        Occupied(rng.integers(2, size=n), rng.integers(repeats, size=(n, 3))) for n in (50, 31)
    )
    expected = np.zeros(len(sites.vectors), dtype=int)
    for i, j in itertools.product(range(50), range(31)):
        cell = np.ravel_multi_index((other.cell[j] - one.cell[i]) % repeats, repeats)
        expected[sites.class_of[one.site[i], other.site[j], cell]] += 1
    np.testing.assert_array_equal(sites.count(one, other), expected)


def test_places_apart_are_the_first_that_fit():
    sites = Sites(np.zeros((1, 3)), np.array([6, 1, 1]), np.diag([18.0, 3, 3]))
    cells = np.array([[x, 0, 0] for x in (0, 1, 5, 3, 2, 4)])
    places = Occupied(np.zeros(6, dtype=int), cells)
    neighbours = sites.shortest < 3.1
    chosen = sites.first_apart(places, neighbours, 2)
    np.testing.assert_array_equal(chosen.cell[:, 0], [0, 3])
    # Cells 1 and 5 are next to 0, the latter through the boundary; 2 and 4 are next to 3.
    assert len(sites.first_apart(places, neighbours, 6).site) == 2


def _all_distances(shells: Shells) -> np.ndarray:
    """Sorted distances, each as often as there are images at it."""
    times = shells.sum(np.ones((1, 1)))[:, 0].astype(int)
    return np.sort(np.repeat(shells.distances, times))


def test_images_of_a_vector_are_those_of_a_large_box():
    lattice, _ = LATTICES["triclinic"]
    vector = np.array([0.3, 0.9, -1.4])
    steps = np.indices((21, 21, 21)).reshape(3, -1).T - 10
    expected = np.linalg.norm((vector + steps) @ lattice, axis=1)
    found = _all_distances(Shells(vector[None], lattice, 14.0))
    np.testing.assert_allclose(found, np.sort(expected[expected < 14.0]), atol=1e-7)


def test_a_sparse_crystal_has_only_its_density():
    crystal = LatticeCrystal(Sites(np.zeros((1, 3)), np.full(3, 2), 60 * np.eye(3)), 1, "Cu", 0.006)
    nowhere = Occupied(np.empty(0, dtype=int), np.empty((0, 3), dtype=int))
    parameters = PDFParameters(1.0, 5.0)
    (g,) = crystal.pdfs([Change(nowhere, nowhere, "Cu", 0.006)], parameters, [0, 399])
    np.testing.assert_allclose(g, -4 * np.pi * 8 / 60**3 * parameters.r[[0, 399]], rtol=1e-6)


def test_many_changes_are_worked_on_in_blocks(monkeypatch):
    crystal, changes = _with_tungsten(9)
    parameters = PDFParameters(1.5, 12.0, 0.01, 0.6, 23.6)
    at_once = crystal.pdfs(changes, parameters, range(0, 1000, 9))
    monkeypatch.setattr("pdfcalc.pdf.lattice._BLOCK", 2)
    in_blocks = crystal.pdfs(changes, parameters, range(0, 1000, 9))
    np.testing.assert_allclose(in_blocks, at_once, atol=1e-5 * np.abs(at_once).max())


def test_a_prepared_crystal_gives_a_variant_the_same_in_any_company():
    crystal, changes = _with_tungsten(70)
    parameters, points = PDFParameters(1.5, 12.0, 0.01, 0.6, 23.6), range(0, 1000, 9)
    prepared = PreparedCrystal(crystal, parameters, points, (0.006, 0.04), 2.7)
    every = prepared.pdfs(changes)
    expected = crystal.pdfs(changes, parameters, points)
    np.testing.assert_allclose(every, expected, atol=1e-5 * np.abs(expected).max())
    for rows in ([5], [69, 3], list(range(69, -1, -1))):
        np.testing.assert_array_equal(prepared.pdfs([changes[row] for row in rows]), every[rows])
    hot = Change(changes[0].removed, changes[0].added, "W", 0.03)
    with pytest.raises(ValueError, match=r"uiso = 0.03: the crystal was prepared for 0.003 to"):
        prepared.pdfs([hot])


def _with_tungsten(n_changes: int) -> tuple[LatticeCrystal, list[Change]]:
    """Iron with two atoms of tungsten between, which vibrate differently in each change."""
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    crystal = LatticeCrystal(Sites(frac, np.full(3, 3), 9.6 * np.eye(3)), 1, "Fe", 0.005)
    rng = np.random.default_rng(0)
    changes = []
    for uiso in rng.uniform(0.003, 0.02, n_changes):
        added = Occupied(np.ones(2, dtype=int), rng.integers(3, size=(2, 3)))
        changes.append(Change(added[:0], added, "W", uiso))
    return crystal, changes


@st.composite
def changed_crystals(draw) -> tuple[LatticeCrystal, list[Change]]:
    """A small crystal with two kinds of further sites, and a few arbitrary changes of it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lattice, _ = LATTICES[draw(st.sampled_from(sorted(LATTICES)))]
    repeats = np.array(draw(st.tuples(*[st.integers(1, 3)] * 3)))
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0], [0.25, 0.5, 0]])
    crystal = LatticeCrystal(Sites(frac, repeats, lattice * repeats[:, None]), 2, "Ti", 0.006)
    cells = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 3)

    def some_of(sites: np.ndarray, most: int) -> Occupied:
        site, cell = np.repeat(sites, len(cells)), np.tile(cells, (len(sites), 1))
        chosen = rng.permutation(len(site))[: rng.integers(0, most + 1)]
        return Occupied(site[chosen], cell[chosen])

    changes = []
    for element, uiso in (("Ti", 0.006), ("Ni", 0.006), ("Pb", 0.011)):
        removed = some_of(np.array([0, 1]), len(cells))
        between = some_of(np.array([2, 3]), len(cells))
        n_own, n_replaced = (rng.integers(0, len(some.site) + 1) for some in (between, removed))
        added = Occupied(
            np.concatenate([removed.site[:n_replaced], between.site[n_own:]]),
            np.concatenate([removed.cell[:n_replaced], between.cell[n_own:]]),
        )
        changes.append(Change(removed, added, element, uiso, between[:n_own]))
    return crystal, changes


def _atoms(crystal: LatticeCrystal, change: Change) -> AtomicStructure:
    repeats = crystal.sites.repeats
    cells = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 3)
    gone = {(s, *c) for s, c in zip(change.removed.site, change.removed.cell, strict=True)}
    kept = [(s, *c) for s in range(crystal.n_filled) for c in cells if (s, *c) not in gone]
    own, added = change.own, change.added
    site = np.array([s for s, *_ in kept] + own.site.tolist() + added.site.tolist(), dtype=int)
    cell = np.array([c for _, *c in kept] + own.cell.tolist() + added.cell.tolist())
    n_own, n_new = len(kept) + len(own.site), len(added.site)
    return AtomicStructure(
        crystal.sites.lattice,
        (crystal.sites.frac[site] + cell) / repeats,
        [crystal.element] * n_own + [change.element] * n_new,
        [crystal.uiso] * n_own + [change.uiso] * n_new,
    )


@pytest.mark.parametrize(
    "further",
    [
        {"scattering": "xray"},
        {"scattering": "neutron"},
        {"scattering_lengths": {"Ti": 2.0, "Pb": 7.5}, "scale": 0.7, "spdiameter": 20.0},
    ],
)
@settings(max_examples=15)
@given(changed_crystals())
def test_variants_are_those_of_the_explicit_atoms(further, drawn):
    crystal, changes = drawn
    parameters = PDFParameters(1.5, 15.0, 0.01, 0.6, 23.6, 0.03, 0.01, **further)
    g = crystal.pdfs(changes, parameters, range(len(parameters.r)))
    assert g.shape == (len(changes), len(parameters.r))
    for row, change in zip(g, changes, strict=True):
        _, expected = calculate_pdf(_atoms(crystal, change), parameters, "pairs")
        np.testing.assert_allclose(row, expected, atol=2e-5 * np.abs(expected).max())


@settings(max_examples=30)
@given(st.floats(0.01, 0.99), st.sampled_from(["hexagonal", "tetragonal"]), st.integers(1, 4))
def test_hosts_with_another_free_coordinate_share_classes_that_hold(t, name, repeats):
    """Displacements of one class are as long for any t, also where t makes further ones equal."""
    lattice, _ = LATTICES[name]
    frac = np.array([[0, 0, 0], [1 / 3, 2 / 3, t], [2 / 3, 1 / 3, -t], [0, 0.5, 0.5 - t]])
    sites = Sites(frac, np.array([repeats, repeats, 2]), lattice * [[repeats], [repeats], [2]])
    cells = np.indices(tuple(sites.repeats)).reshape(3, -1).T
    vectors = (frac[None, :, None] - frac[:, None, None] + cells) / sites.repeats
    vectors = vectors.reshape(-1, 3)
    images = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3))) @ sites.lattice
    lengths, of_class = (
        np.sort(np.linalg.norm(((v - np.rint(v)) @ sites.lattice)[:, None] + images, axis=2))
        for v in (vectors, sites.vectors[sites.class_of.ravel()])
    )
    np.testing.assert_allclose(lengths[:, :8], of_class[:, :8], atol=1e-4)
