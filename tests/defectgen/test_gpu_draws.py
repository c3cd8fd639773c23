"""Draws on a device are as valid as the CPU's, and from the same distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare, ks_2samp, kstest

from defectgen.elements import atomic_number, debye_uiso
from defectgen.gpu_draws import DefectDraws, random_seeds
from defectgen.library import embedded_library
from defectgen.settings import KINDS, DefectSettings
from defectgen.variants import HostSupercell

SMALL = DefectSettings(supercell=(3, 3, 3))
CROWDED = DefectSettings(supercell=(3, 3, 3), fraction=(0.185, 0.186), separation=1.2)
"""Of fcc, tetrahedral sites have room for so many interstitials and octahedral ones not always."""
UNLIKELY = 1e-4
"""Probability that a test of a distribution fails by chance; the seeds are fixed."""


def supercells(settings: DefectSettings) -> list[HostSupercell]:
    hosts = {host.space_group: host for host in embedded_library()}.values()
    return [HostSupercell(host, settings) for host in hosts]


def fcc(settings: DefectSettings) -> HostSupercell:
    host = next(host for host in embedded_library() if host.space_group == 225)
    return HostSupercell(host, settings)


def draw_some(draws: DefectDraws, n_hosts: int, per_host: int, seed: int = 0):
    host = np.repeat(np.arange(n_hosts), per_host)
    label = torch.from_numpy(np.arange(len(host)) % (1 + len(KINDS)))
    return draws.draw(host, label, random_seeds(len(host), torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("settings", [SMALL, DefectSettings(fraction=(0.1, 0.1))])
def test_draws_are_what_the_settings_ask_for(settings):
    cells = supercells(settings)
    draws = DefectDraws(cells)
    drawn = draw_some(draws, len(cells), 10)
    for row, host in enumerate(drawn.host):
        variant, supercell = draws.variant(drawn, row), cells[host]
        removed, added = variant.change.removed, variant.change.added
        count = round(variant.concentration * supercell.n_atoms)
        if variant.label == 0:
            assert count == len(removed.site) == len(added.site) == 0
            continue
        fewest, most = supercell.count_range
        assert fewest <= count <= most
        kind = KINDS[variant.label - 1]
        assert len(removed.site) == (count if kind in ("vacancy", "substitution") else 0)
        assert len(added.site) == (0 if kind == "vacancy" else count)
        assert (removed.site < len(supercell.host.frac)).all()
        chosen = added if "interstitial" in kind else removed
        assert len(np.unique(np.column_stack([chosen.site, chosen.cell]), axis=0)) == count
        host_uiso = supercell.host.uiso
        if kind in ("substitution", "interstitial"):
            assert variant.impurity not in (None, supercell.host.element)
            assert drawn.atomic_number[row] == atomic_number(variant.impurity)
            host_uiso = debye_uiso(variant.impurity, supercell.host.temperature or 300.0)
        assert variant.change.uiso == pytest.approx(host_uiso)
        if "interstitial" in kind:
            assert len(np.unique(_orbit(supercell, added.site))) == 1
            least = supercell.least_separation * (1 - 1e-6)
            assert _separations(supercell, added).min(initial=np.inf) >= least


def _orbit(supercell: HostSupercell, site: np.ndarray) -> np.ndarray:
    starts = np.cumsum([len(orbit.frac) for orbit in supercell.orbits])
    return np.searchsorted(starts, site - len(supercell.host.frac), side="right")


def _separations(supercell: HostSupercell, places) -> np.ndarray:
    """Distances of all pairs of different places, A."""
    sites = supercell.crystal.sites
    first, second = np.triu_indices(len(places.site), 1)
    cell = (places.cell[second] - places.cell[first]) % sites.repeats
    flat = np.ravel_multi_index(tuple(cell.T), tuple(sites.repeats))
    return sites.shortest[sites.class_of[places.site[first], places.site[second], flat]]


def test_a_row_depends_on_its_seed_alone():
    """Not on the other rows, nor on how many are drawn at once."""
    cells = supercells(SMALL)
    drawn = draw_some(DefectDraws(cells), 6, 10)
    few = draw_some(DefectDraws(cells, memory=100_000), 6, 10)
    torch.testing.assert_close(drawn.place, few.place, rtol=0, atol=0)
    torch.testing.assert_close(drawn.impurity, few.impurity, rtol=0, atol=0)
    seeds = random_seeds(60, torch.Generator().manual_seed(0))
    alone = DefectDraws(cells).draw(np.array([5]), torch.tensor([4]), seeds[59:])
    torch.testing.assert_close(alone.place[0], drawn.place[59], rtol=0, atol=0)
    other = draw_some(DefectDraws(cells), 6, 10, seed=1)
    assert (drawn.place != other.place).any(dim=1)[drawn.label > 0].all()


@pytest.mark.parametrize(
    "settings",
    [SMALL, DefectSettings(supercell=(3, 3, 3), fraction=(0.14, 0.17), separation=1.15)],
    ids=["usual", "crowded"],
)
def test_rows_drawn_together_are_those_drawn_in_turn(settings, monkeypatch):
    """What a GPU does, on the CPU."""
    in_turn = draw_some(DefectDraws(supercells(settings)), 6, 60)
    monkeypatch.setattr(DefectDraws, "_draw_in_turn", DefectDraws._draw_together)
    together = draw_some(DefectDraws(supercells(settings)), 6, 60)
    for name in ("place", "gone", "come", "impurity"):
        assert torch.equal(getattr(in_turn, name), getattr(together, name)), name


@pytest.mark.parametrize("settings", [SMALL, CROWDED], ids=["usual", "crowded"])
def test_interstitials_are_distributed_as_the_cpus(settings):
    n_cpu, n_torch = 600, 3000
    many = settings.model_copy(update={"kinds": ("interstitial",), "variants_per_kind": n_cpu})
    supercell = fcc(many)
    variants = [supercell.variant(0, index) for index in range(1, n_cpu + 1)]
    draws = DefectDraws([supercell])
    host, label = np.zeros(n_torch, dtype=np.int64), torch.full((n_torch,), 4)
    drawn = draws.draw(host, label, random_seeds(n_torch, torch.Generator().manual_seed(1)))
    ours = [draws.variant(drawn, row) for row in range(n_torch)]
    orbits, own_orbits = (
        np.bincount([_orbit(supercell, v.change.added.site[:1])[0] for v in some], minlength=2)
        for some in (variants, ours)
    )
    assert chi2_contingency([orbits, own_orbits]).pvalue > UNLIKELY
    assert (orbits[0] < 0.4 * n_cpu) == (settings is CROWDED)
    counts, own_counts = ([v.concentration for v in some] for some in (variants, ours))
    assert ks_2samp(counts, own_counts).pvalue > UNLIKELY
    atomic_numbers = drawn.atomic_number.numpy()
    frequencies = np.unique(atomic_numbers, return_counts=True)[1]
    assert len(frequencies) == len(many.impurities) - 1
    assert chisquare(frequencies).pvalue > UNLIKELY
    for statistic in (np.min, np.mean, lambda distances: np.sort(distances)[len(distances) // 4]):
        near, own_near = (
            [
                statistic(_separations(supercell, v.change.added))
                for v in some
                if len(v.change.added.site) > 1
            ]
            for some in (variants, ours)
        )
        assert ks_2samp(near, own_near).pvalue > UNLIKELY


def test_fractions_and_places_are_uniform():
    supercell = fcc(DefectSettings(supercell=(5, 5, 5)))
    n_rows = 2000
    host, label = np.zeros(n_rows, dtype=np.int64), torch.full((n_rows,), 1)
    seeds = random_seeds(n_rows, torch.Generator().manual_seed(0))
    drawn = DefectDraws([supercell]).draw(host, label, seeds)
    fraction = drawn.concentration.numpy() + (np.random.default_rng(0).random(n_rows) - 0.5) / 500
    assert kstest(fraction, "uniform", (0.01, 0.09)).pvalue > UNLIKELY
    places = drawn.place[drawn.gone > 0]
    assert chisquare(np.bincount(places, minlength=500)).pvalue > UNLIKELY
    first = drawn.place[:, 0]
    assert chisquare(np.bincount(first, minlength=500)).pvalue > UNLIKELY


def test_interstitials_that_do_not_fit_are_refused():
    crowded = DefectSettings(fraction=(0.5, 0.5), separation=2.0)
    supercell = fcc(crowded)
    with pytest.raises(ValueError, match=f"{supercell.host.id}: no room for so many"):
        DefectDraws([supercell]).draw(np.array([0]), torch.tensor([4]), torch.tensor([7]))
