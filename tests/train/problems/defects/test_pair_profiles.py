"""The formulas of docs/identifiability.md against the engine's G(r) of drawn atoms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from defectgen.hosts.elements import atomic_number
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import KINDS, DefectSettings
from defectgen.point_defects.variants import HostSupercell
from hpc.observables.pdf import PDFSettings
from pdfcalc.pdf.lattice import Change, PreparedCrystal
from train.problems.defects.pair_profiles import PairProfiles
from train.problems.defects.streaming import VariantStream

PDF = PDFSettings(rmax=12.0, points=120)
FEW = {"supercell": (3, 3, 3), "separation": 0.0}
N_DRAWS = 300


def host_of(space_group: int) -> Any:
    return next(host for host in embedded_library() if host.space_group == space_group)


def prepared(space_group: int) -> tuple[HostSupercell, VariantStream]:
    """A host with one number of defects."""
    host = host_of(space_group)
    n_atoms = 27 * len(host.frac)
    fraction = round(0.08 * n_atoms) / n_atoms
    settings = DefectSettings(fraction=(fraction, fraction), **FEW)
    return HostSupercell(host, settings), VariantStream([host], settings, PDF)


def drawn_changes(stream: VariantStream, kind: str) -> list[Change]:
    label = np.full(N_DRAWS, 1 + KINDS.index(kind))
    _, drawn = stream.draw(np.zeros(N_DRAWS, int), label, torch.arange(N_DRAWS))
    return stream.draws.changes(drawn)


def pdfs(supercell: HostSupercell, changes: list[Change]) -> np.ndarray:
    return supercell.crystal.pdfs(changes, PDF.parameters, PDF.stored.tolist())


def assert_is_the_mean(formula: np.ndarray, g: np.ndarray, pristine: np.ndarray) -> None:
    """Within the means' errors, and the difference to the pristine crystal is far above them."""
    error = g.std(axis=0) / np.sqrt(len(g)) + 3e-5 * np.abs(pristine).max()
    assert np.abs((g.mean(axis=0) - formula) / error).max() < 5
    assert np.abs((g.mean(axis=0) - pristine) / error).max() > 8


CASES = [(225, "vacancy"), (194, "vacancy"), (229, "substitution"), (141, "substitution")]


@pytest.mark.parametrize(("space_group", "kind"), CASES)
def test_atoms_that_leave_or_are_replaced(space_group, kind):
    supercell, stream = prepared(space_group)
    host, foreign = supercell.host, 0.5 * supercell.host.uiso
    element = "Na" if host.element != "Na" else "Pb"
    z = atomic_number(element) / atomic_number(host.element)
    changes = [replace(c, element=element, uiso=foreign) for c in drawn_changes(stream, kind)]
    profiles = PairProfiles(supercell, PDF, (2 * foreign, 2 * host.uiso))
    n = len(changes[0].removed.site)
    many = np.array(n)
    shares = profiles.vacancies(many) if kind == "vacancy" else profiles.substitutions(many, z)
    formula = profiles.mean_pdf(shares, profiles.profiles((host.uiso, foreign)))
    (pristine,) = pdfs(supercell, [supercell.variant(0, 0).change])
    assert_is_the_mean(formula, pdfs(supercell, changes), pristine)


@pytest.mark.parametrize("space_group", [225, 229, 194])
@pytest.mark.parametrize("z_of", ["Li", "U"])
def test_interstitials(space_group, z_of):
    supercell, stream = prepared(space_group)
    host, foreign = supercell.host, 0.5 * supercell.host.uiso
    z = atomic_number(z_of) / atomic_number(host.element)
    profiles = PairProfiles(supercell, PDF, (2 * foreign, 2 * host.uiso))
    changes = [
        replace(c, element=z_of, uiso=foreign) for c in drawn_changes(stream, "interstitial")
    ]
    ends = np.cumsum([len(host.frac), *(len(orbit.frac) for orbit in supercell.orbits)])
    (pristine,) = pdfs(supercell, [supercell.variant(0, 0).change])
    n = len(changes[0].added.site)
    for orbit in range(len(supercell.orbits)):
        here = [
            change for change in changes if ends[orbit] <= change.added.site[0] < ends[orbit + 1]
        ]
        of_orbit = profiles.profiles((host.uiso, foreign), orbit)
        formula = profiles.mean_pdf(profiles.interstitials(np.array(n), z), of_orbit)
        assert_is_the_mean(formula, pdfs(supercell, here), pristine)


MIXTURES = {
    "vacancy+self_interstitial": (20, 30, 0, 0),
    "vacancy+substitution": (20, 0, 30, 0),
    "vacancy+interstitial": (20, 0, 0, 30),
    "self_interstitial+substitution": (0, 20, 30, 0),
    "self_interstitial+interstitial": (0, 20, 0, 30),
    "substitution+interstitial": (0, 0, 20, 30),
}
"""Vacancies, self-interstitials, substitutions and interstitials."""


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("z", [0.4, 2.5])
def test_two_kinds_of_one_displacement_come_to_two_numbers(name, z):
    """Atoms for each host atom, and scattering power between host sites over that on them."""
    host = host_of(225)
    supercell = HostSupercell(host, DefectSettings(separation=0.0))
    rng, u_sums = np.random.default_rng(0), (2 * host.uiso, 2 * host.uiso)
    vacancies, own, substitutions, foreign = (n / supercell.n_atoms for n in MIXTURES[name])
    atoms = 1 - vacancies + own + foreign
    power = (own + z * foreign) / (1 - vacancies - substitutions + z * substitutions)
    profiles = PairProfiles(supercell, PDF, u_sums)
    between = profiles.others[0] * supercell.n_atoms
    pairs = profiles.host + 2 * power * profiles.around[0] + power**2 * between
    weights = atoms / (1 + power) ** 2 * pairs
    formula = profiles.pdf(weights[None], np.array(u_sums[:1]))[0] + atoms * profiles.baseline
    lengths = {host.element: 1.0, "Pb": z}
    parameters = replace(PDF.parameters, scattering_lengths=lengths)
    crystal = PreparedCrystal(supercell.crystal, parameters, PDF.stored.tolist(), u_sums)
    first_orbit = len(host.frac) + len(supercell.orbits[0].frac)
    changes = []
    while len(changes) < 200:
        places = supercell._draw_places(rng, MIXTURES[name], supercell.orbits_of(None))
        if places.site.max() < first_orbit:
            change = supercell.change_of(
                MIXTURES[name], "Pb", supercell.uiso_of("Pb").median, places
            )
            changes.append(replace(change, uiso=host.uiso))
    g = crystal.pdfs(changes)
    (pristine,) = pdfs(supercell, [supercell.variant(0, 0).change])
    size = np.abs(formula - pristine).max()
    assert np.abs(g.mean(axis=0) - formula).max() < 0.03 * size


def test_a_substitution_of_one_power_is_a_vacancy_but_for_the_scale():
    """z = 2 (1 - x) / (1 - 2 x) at equal Uiso: the same G(r) times 1 - x, draw by draw."""
    supercell, stream = prepared(225)
    changes = drawn_changes(stream, "vacancy")[:3]
    x = len(changes[0].removed.site) / supercell.n_atoms
    own = atomic_number(supercell.host.element)
    powers = {supercell.host.element: float(own), "Pb": 2 * (1 - x) / (1 - 2 * x) * own}
    parameters = replace(PDF.parameters, scattering_lengths=powers)
    replaced = [replace(c, added=c.removed, element="Pb") for c in changes]
    u_sums = (2 * supercell.host.uiso, 2 * supercell.host.uiso)
    crystal = PreparedCrystal(supercell.crystal, parameters, PDF.stored.tolist(), u_sums)
    gone, alloyed = crystal.pdfs(changes), crystal.pdfs(replaced)
    np.testing.assert_allclose(gone, (1 - x) * alloyed, atol=2e-5 * np.abs(gone).max())
    assert np.abs(alloyed - alloyed.mean(axis=0)).max() > 1e-3 * np.abs(gone).max()


def test_without_repeats_pairs_are_those_of_a_larger_supercell():
    host = host_of(229)
    formulas = []
    for cells, repeated in ((3, False), (3, True), (6, True)):
        settings = DefectSettings(supercell=(cells,) * 3, separation=0.0)
        supercell = HostSupercell(host, settings)
        profiles = PairProfiles(supercell, PDF, (2 * host.uiso, 4 * host.uiso), repeated)
        n, uiso = np.array(0.1 * supercell.n_atoms), (host.uiso, 2 * host.uiso)
        states = [(profiles.substitutions(n, 3.0), None), (profiles.interstitials(n, 3.0), 0)]
        means = [
            profiles.mean_pdf(shares, profiles.profiles(uiso, orbit)) for shares, orbit in states
        ]
        formulas.append(np.array(means))
    without, repeating, larger = formulas
    assert np.abs(without - larger).max() < 0.1 * np.abs(repeating - larger).max()
