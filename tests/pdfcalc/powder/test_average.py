"""Average structures of changed crystals against the atoms of their supercells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdfcalc import AtomicStructure, PowderParameters, calculate_powder_pattern
from pdfcalc.crystals.displacements import NOWHERE, Occupied, Sites
from pdfcalc.pdf.lattice import Change, LatticeCrystal
from pdfcalc.powder.average import average_patterns, average_structure_factors, occupancies
from pdfcalc.powder.reflections import Reflections, find_reflections, structure_factors

LATTICE = np.array([[3.1, 0, 0], [0.4, 3.8, 0], [0.2, -0.3, 4.4]])
FRAC = np.array([[0, 0, 0], [0.5, 0.5, 0.45], [0.5, 0, 0.1], [0.1, 0.6, 0.2]])
N_FILLED = 2
PARAMETERS = PowderParameters()


def supercell(repeats) -> LatticeCrystal:
    repeats = np.array(repeats)
    return LatticeCrystal(Sites(FRAC, repeats, LATTICE * repeats[:, None]), N_FILLED, "Ti", 0.006)


def copies(crystal: LatticeCrystal, start: int, stop: int) -> Occupied:
    cells = np.indices(tuple(crystal.sites.repeats)).reshape(3, -1).T
    return Occupied(
        np.repeat(np.arange(start, stop), len(cells)), np.tile(cells, (stop - start, 1))
    )


def drawn(crystal: LatticeCrystal, rng: np.random.Generator) -> Change:
    """Some of all that a change may hold."""
    host, between = copies(crystal, 0, N_FILLED), copies(crystal, N_FILLED, len(FRAC))
    removed = host[rng.permutation(len(host.site))[: rng.integers(len(host.site))]]
    come = between[rng.permutation(len(between.site))]
    n_own, n_new = rng.integers(len(come.site) // 2, size=2)
    n_replaced = rng.integers(len(removed.site) + 1)
    added = Occupied(
        np.concatenate([removed.site[:n_replaced], come.site[n_own : n_own + n_new]]),
        np.concatenate([removed.cell[:n_replaced], come.cell[n_own : n_own + n_new]]),
    )
    return Change(removed, added, "Pb", 0.011, come[:n_own])


def atoms_of(crystal: LatticeCrystal, change: Change) -> AtomicStructure:
    """All atoms of the supercell, one by one."""
    places = {(s, *c): "Ti" for s, c in _listed(copies(crystal, 0, N_FILLED))}
    for s, c in _listed(change.removed):
        del places[(s, *c)]
    places |= {(s, *c): "Ti" for s, c in _listed(change.own)}
    places |= {(s, *c): "Pb" for s, c in _listed(change.added)}
    frac = [(FRAC[s] + cell) / crystal.sites.repeats for s, *cell in places]
    uiso = [{"Ti": 0.006, "Pb": 0.011}[element] for element in places.values()]
    return AtomicStructure(crystal.sites.lattice, frac, list(places.values()), uiso)


def _listed(at: Occupied):
    return zip(at.site.tolist(), map(tuple, at.cell.tolist()), strict=True)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 3)] * 3))
def test_structure_factors_are_those_of_the_supercell_at_the_reflections_of_the_cell(seed, repeats):
    crystal, rng = supercell(repeats), np.random.default_rng(seed)
    changes = [drawn(crystal, rng) for _ in range(3)]
    reflections = find_reflections(LATTICE, PARAMETERS.s_range)
    found = average_structure_factors(crystal, changes, reflections)
    of_supercell = Reflections(
        reflections.hkl * crystal.sites.repeats, reflections.s, reflections.starts
    )
    for factors, change in zip(found, changes, strict=True):
        expected = structure_factors(atoms_of(crystal, change), of_supercell) / np.prod(repeats)
        np.testing.assert_allclose(factors, expected, atol=1e-9)


def test_patterns_are_those_of_cells_with_these_occupancies():
    crystal, rng = supercell((3, 2, 3)), np.random.default_rng(5)
    changes = [Change(NOWHERE, NOWHERE, "Ti", 0.006), *(drawn(crystal, rng) for _ in range(4))]
    patterns = average_patterns(crystal, changes, PARAMETERS)
    own, new = occupancies(crystal, changes)
    assert patterns.shape == (5, 2001)
    for row, pattern in enumerate(patterns):
        there, foreign = np.flatnonzero(own[row]), np.flatnonzero(new[row])
        cell = AtomicStructure(
            LATTICE,
            FRAC[[*there, *foreign]],
            ["Ti"] * len(there) + ["Pb"] * len(foreign),
            [0.006] * len(there) + [0.011] * len(foreign),
            [*own[row, there], *new[row, foreign]],
        )
        _, expected = calculate_powder_pattern(cell, PARAMETERS)
        np.testing.assert_allclose(pattern, expected, rtol=1e-9, atol=1e-9 * expected.max())


def test_occupancies_count_what_left_and_what_came():
    crystal = supercell((2, 1, 1))
    zero, one = np.array([[0, 0, 0]]), np.array([[1, 0, 0]])
    removed = Occupied(np.array([0, 1]), np.concatenate([zero, one]))
    added = Occupied(np.array([1, 3]), np.concatenate([one, zero]))
    change = Change(removed, added, "Pb", 0.01, Occupied(np.array([2]), zero))
    own, new = occupancies(crystal, [change])
    assert own.tolist() == [[0.5, 0.5, 0.5, 0]]
    assert new.tolist() == [[0, 0.5, 0, 0.5]]


def test_an_element_without_form_factor_is_refused():
    change = Change(NOWHERE, NOWHERE, "Es", 0.01)
    with pytest.raises(ValueError, match="no X-ray form factor is tabulated for Es"):
        average_patterns(supercell((1, 1, 1)), [change], PARAMETERS)
