"""The mean of what relaxed defects change, beside samples."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import DefectSettings
from defectgen.samples import Resources
from defectgen.stages.relaxed import Relaxed
from hpc.observables.pdf import PDFSettings
from pdfcalc import calculate_pdf
from pdfcalc.pdf.cell_fit import RefinableCrystal
from train.problems.defects.inputs import without
from train.problems.defects.relaxed_means import RelaxedMeans, State

PDF = PDFSettings(rmax=12.0, points=100)
HOST = next(host for host in embedded_library() if host.element == "Fe")
DEFECTS = DefectSettings(supercell=(4, 4, 4), impurities=("Al", "Pb"), separation=2.0)


@cache
def means(draws: int = 2) -> RelaxedMeans:
    return RelaxedMeans(HOST, DEFECTS, PDF, draws=draws)


def test_states_are_all_kinds_elements_and_sites():
    states = means().states
    assert [state for state in states if state.orbit is None] == [
        State("vacancy"),
        State("substitution", "Al"),
        State("substitution", "Pb"),
    ]
    assert {state.orbit for state in states if state.kind == "interstitial"} == {0, 1}


@pytest.mark.parametrize(
    "state", [State("vacancy"), State("substitution", "Pb"), State("interstitial", "Al", 1)]
)
def test_the_rigid_mean_is_that_of_samples(state):
    found = means(24)
    g = [
        calculate_pdf(sample.atoms(), PDF.parameters)[1][PDF.stored]
        for sample in found.samples(state)
    ]
    change = (np.mean(g, axis=0) - found.pristine) / found.fraction(state)
    rigid = found.rigid(state)
    # What a fraction of some percent adds, random places, and the supercell's repetition.
    assert np.linalg.norm(change - rigid) < 0.15 * np.linalg.norm(rigid)


@pytest.mark.parametrize(("place", "cell", "uiso"), [(0, 1e-4, 0.0), (1, 0.0, 1e-2)])
def test_tangents_are_derivatives_of_the_host(place, cell, uiso):
    changed = HOST.changed((1 + cell) * HOST.a, (1 + cell) * HOST.c, (1 + uiso) * HOST.uiso)
    g = calculate_pdf(changed.atoms, PDF.parameters)[1][PDF.stored]
    difference = (g - means().pristine) / (cell + uiso)
    missed = difference - means().tangents[place]
    assert np.linalg.norm(missed) < 0.03 * np.linalg.norm(difference)


def test_relaxing_by_nothing_adds_nothing_and_by_more_adds_more():
    found, state = means(), State("vacancy")
    assert not found.by_relaxing(state, 0.0).any()
    half, whole = (found.by_relaxing(state, amplitude) for amplitude in (0.5, 1.0))
    assert np.linalg.norm(whole) > 1.5 * np.linalg.norm(half) > 0


def test_nothing_is_left_that_the_refinement_takes_up():
    found = means()
    added = found.by_relaxing(State("vacancy"), 1.0)
    unit = np.linalg.qr(found.tangents.T)[0]
    assert np.linalg.norm(added - without(added, unit)) < 0.05 * np.linalg.norm(added)


def test_uiso_as_refined_grows_with_what_defects_displace():
    own = means().displacing(State("self_interstitial", None, 0))
    assert own > 10 > means().displacing(State("vacancy")) > 0
    state = State("substitution", "Pb")
    sample = Relaxed().apply(means().samples(state), Resources())[0]
    atoms = sample.atoms()
    g = calculate_pdf(atoms, PDF.parameters)[1][PDF.stored]
    crystal = RefinableCrystal(HOST.atoms, PDF.parameters, PDF.stored.tolist())
    growth = crystal.fit(g, crystal.lengths_in(atoms.lattice)).uiso - 1
    assert means().displacing(state) * means().fraction(state) == pytest.approx(growth, rel=0.3)
