"""Draws on a device are as valid as the CPU's, and from the same distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from defects import assert_holds_what_it_says, orbit_of, places_of, separations
from scipy.stats import chi2_contingency, chisquare, ks_2samp, kstest

from defectgen.hosts.elements import atomic_number
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.gpu_draws import DefectDraws, random_seeds
from defectgen.point_defects.place_draws import PlaceDraws
from defectgen.point_defects.settings import KIND_SETS, DefectSettings
from defectgen.point_defects.variants import HostSupercell, Variant

SMALL = DefectSettings(supercell=(3, 3, 3))
MIXED = DefectSettings(supercell=(3, 3, 3), mixed_variants=1)
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
    label = np.arange(len(host)) % draws.supercells[0].settings.n_labels
    return draws.draw(host, label, random_seeds(len(host), torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize(
    "settings",
    [SMALL, DefectSettings(fraction=(0.1, 0.1)), MIXED, DefectSettings(mixed_variants=1)],
    ids=["small", "full", "small, mixed", "mixed"],
)
def test_draws_are_what_the_settings_ask_for(settings):
    cells = supercells(settings)
    draws = DefectDraws(cells)
    drawn = draw_some(draws, len(cells), 2 * settings.n_labels)
    assert set(drawn.label.tolist()) == set(range(settings.n_labels))
    for row, host in enumerate(drawn.host):
        variant = draws.variant(drawn, row)
        assert_holds_what_it_says(cells[host], variant)
        assert drawn.label[row] == variant.label
        number = atomic_number(variant.impurity) if variant.impurity else 0
        assert drawn.atomic_number[row] == number
        assert drawn.uiso[row].item() == pytest.approx(variant.change.uiso)


@pytest.mark.parametrize("settings", [SMALL, MIXED], ids=["single", "mixed"])
def test_draws_of_one_kind_are_those_of_earlier_versions(settings):
    """A training goes on with the defects that it began with."""
    drawn = DefectDraws(supercells(settings)).draw(
        np.array([0, 1, 2, 3]), np.array([1, 2, 3, 4]), torch.arange(4)
    )
    assert drawn.n_defects.sum(dim=1).tolist() == [2, 8, 4, 2]
    assert drawn.place.sum(dim=1).tolist() == [189, 1208, 133, 150]
    assert drawn.atomic_number.tolist() == [0, 0, 48, 43]


def test_a_row_depends_on_its_seed_alone():
    """Not on the other rows, nor on how many are drawn at once."""
    cells = supercells(SMALL)
    drawn = draw_some(DefectDraws(cells), 6, 10)
    few = draw_some(DefectDraws(cells, memory=100_000), 6, 10)
    torch.testing.assert_close(drawn.place, few.place, rtol=0, atol=0)
    torch.testing.assert_close(drawn.impurity, few.impurity, rtol=0, atol=0)
    seeds = random_seeds(60, torch.Generator().manual_seed(0))
    alone = DefectDraws(cells).draw(np.array([5]), np.array([4]), seeds[59:])
    torch.testing.assert_close(alone.place[0], drawn.place[59], rtol=0, atol=0)
    other = draw_some(DefectDraws(cells), 6, 10, seed=1)
    assert (drawn.place != other.place).any(dim=1)[drawn.label > 0].all()


@pytest.mark.parametrize(
    "settings",
    [
        SMALL,
        DefectSettings(supercell=(3, 3, 3), fraction=(0.14, 0.17), separation=1.15),
        DefectSettings(
            supercell=(3, 3, 3), fraction=(0.06, 0.17), separation=1.15, mixed_variants=1
        ),
    ],
    ids=["usual", "crowded", "crowded, mixed"],
)
def test_rows_drawn_together_are_those_drawn_in_turn(settings, monkeypatch):
    """What a GPU does, on the CPU."""
    in_turn = draw_some(DefectDraws(supercells(settings)), 6, 60)
    monkeypatch.setattr(PlaceDraws, "_draw_in_turn", PlaceDraws._draw_together)
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
    host, label = np.zeros(n_torch, dtype=np.int64), np.full(n_torch, 4)
    drawn = draws.draw(host, label, random_seeds(n_torch, torch.Generator().manual_seed(1)))
    ours = [draws.variant(drawn, row) for row in range(n_torch)]
    orbits, own_orbits = (
        np.bincount([orbit_of(supercell, v.change.added.site[0]) for v in some], minlength=2)
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
                statistic(separations(supercell, sorted(places_of(v.change.added))))
                for v in some
                if len(v.change.added.site) > 1
            ]
            for some in (variants, ours)
        )
        assert ks_2samp(near, own_near).pvalue > UNLIKELY


@pytest.mark.parametrize("kinds", KIND_SETS[5:], ids="+".join)
def test_two_kinds_share_as_the_cpus(kinds):
    """All together, the first kind's part, and how near its own interstitials are."""
    n_cpu, n_torch = 500, 1500
    settings = MIXED.model_copy(update={"kinds": kinds, "mixed_variants": n_cpu})
    supercell = fcc(settings)
    first = settings.n_variants - n_cpu
    variants = [supercell.variant(0, index) for index in range(first, first + n_cpu)]
    draws = DefectDraws([supercell])
    host, label = np.zeros(n_torch, dtype=np.int64), np.full(n_torch, KIND_SETS.index(kinds))
    drawn = draws.draw(host, label, random_seeds(n_torch, torch.Generator().manual_seed(1)))
    ours = [draws.variant(drawn, row) for row in range(n_torch)]
    for statistic in (_total, _share, _nearest_own):
        cpus, own = ([statistic(supercell, v) for v in some] for some in (variants, ours))
        assert ks_2samp(cpus, own).pvalue > UNLIKELY, statistic.__name__


def _total(supercell: HostSupercell, variant: Variant) -> int:
    return sum(variant.n_defects)


def _share(supercell: HostSupercell, variant: Variant) -> float:
    return next(filter(None, variant.n_defects)) / sum(variant.n_defects)


def _nearest_own(supercell: HostSupercell, variant: Variant) -> float:
    """Distance of the nearest two self-interstitials, A; of fewer, more than any."""
    return separations(supercell, sorted(places_of(variant.change.own))).min(initial=1e3)


def test_fractions_and_places_are_uniform():
    supercell = fcc(DefectSettings(supercell=(5, 5, 5)))
    n_rows = 2000
    host, label = np.zeros(n_rows, dtype=np.int64), np.full(n_rows, 1)
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
        DefectDraws([supercell]).draw(np.array([0]), np.array([4]), torch.tensor([7]))
