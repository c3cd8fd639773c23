"""Defects are drawn as the settings say, from (seed, host, variant) alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from defectgen.elements import debye_uiso, metals
from defectgen.host import Host
from defectgen.library import embedded_library
from defectgen.settings import KINDS, DefectSettings
from defectgen.sites import interstitial_sites
from defectgen.variants import HostSupercell
from defectgen.voids import nearest_neighbour

DEFAULT = DefectSettings()


def one_of_each_group() -> list[Host]:
    return list({host.space_group: host for host in embedded_library()}.values())


def periodic_distances(frac: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """(N, N) shortest distance of each pair over the nearest images; infinite to itself."""
    difference = frac[:, None] - frac[None]
    shifts = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    distance = np.full(difference.shape[:2], np.inf)
    for shift in shifts:
        length = np.linalg.norm((difference - np.rint(difference) + shift) @ lattice, axis=2)
        distance = np.minimum(distance, np.where(length < 1e-9, np.inf, length))
    return distance


@pytest.mark.parametrize("host", one_of_each_group(), ids=lambda host: str(host.space_group))
@pytest.mark.parametrize("kind", KINDS)
def test_variants_hold_what_they_say(host, kind):
    supercell = HostSupercell(host, DEFAULT)
    nearest = nearest_neighbour(host.lattice, np.array(host.frac))
    pristine = {
        tuple(row)
        for row in np.round(supercell.atoms(supercell.variant(0, 0)).frac % 1, 9).tolist()
    }
    assert len(pristine) == supercell.n_atoms == 125 * len(host.frac)
    for index in range(1, DEFAULT.n_variants):
        variant = supercell.variant(0, index)
        if KINDS[variant.label - 1] != kind:
            continue
        atoms = supercell.atoms(variant)
        count = round(variant.concentration * supercell.n_atoms)
        assert 0.01 <= variant.concentration <= 0.10
        foreign = atoms.elements != host.element
        positions = [tuple(row) for row in np.round(atoms.frac % 1, 9).tolist()]
        assert len(set(positions)) == len(positions)
        extra = {"vacancy": -count, "substitution": 0}.get(kind, count)
        assert len(atoms.frac) == supercell.n_atoms + extra
        on_host_sites = np.array([position in pristine for position in positions])
        if kind in ("substitution", "interstitial"):
            assert variant.impurity in metals()
            assert variant.impurity != host.element
            assert foreign.sum() == count
            expected = debye_uiso(variant.impurity, host.temperature or 300.0)
            assert set(atoms.uiso[foreign].tolist()) == {expected}
        else:
            assert variant.impurity is None
            assert not foreign.any()
        if "interstitial" in kind:
            added = ~on_host_sites
            assert added.sum() == count
            distance = periodic_distances(atoms.frac[added], atoms.lattice)
            assert distance.min(initial=np.inf) >= DEFAULT.separation * nearest * (1 - 1e-6)
        else:
            assert on_host_sites.all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(1, 12))
def test_a_variant_depends_on_seed_host_and_index_alone(seed, index):
    host = embedded_library()[100]
    alone = HostSupercell(host, DEFAULT).variant(seed, index)
    among_others = HostSupercell(host, DEFAULT)
    for other in range(12, index, -1):
        among_others.variant(seed, other)
    again = among_others.variant(seed, index)
    for part in ("removed", "added"):
        first, second = getattr(alone.change, part), getattr(again.change, part)
        np.testing.assert_array_equal(first.site, second.site)
        np.testing.assert_array_equal(first.cell, second.cell)
    assert (alone.impurity, alone.concentration) == (again.impurity, again.concentration)


def test_other_seeds_hosts_and_indices_give_other_draws():
    hosts = [host for host in embedded_library() if host.space_group == 225][:2]

    def drawn(host: Host, seed: int, index: int) -> tuple[int, ...]:
        change = HostSupercell(host, DEFAULT).variant(seed, index).change
        return tuple(change.removed.cell.ravel().tolist())

    draws = {drawn(host, seed, index) for host in hosts for seed in (0, 1) for index in (1, 2, 3)}
    assert len(draws) == 12


def test_fractions_are_uniform():
    """Kolmogorov's distance of 400 draws to the uniform distribution on 1-10 %."""
    host = next(host for host in embedded_library() if host.space_group == 225)
    many = DefectSettings(kinds=("vacancy",), variants_per_kind=400)
    supercell = HostSupercell(host, many)
    drawn = np.sort([supercell.variant(0, i).concentration for i in range(1, 401)])
    expected = 0.01 + 0.09 * (np.arange(400) + 0.5) / 400
    assert np.abs(drawn - expected).max() / 0.09 < 1.63 / 20


def test_interstitials_take_every_kind_of_site_and_impurities_every_metal():
    host = next(host for host in embedded_library() if host.space_group == 225)
    many = DefectSettings(kinds=("interstitial",), variants_per_kind=400, supercell=(2, 2, 2))
    supercell = HostSupercell(host, many)
    variants = [supercell.variant(0, index) for index in range(1, 401)]
    sites = {int(variant.change.added.site[0]) for variant in variants}
    octahedral = sum(variant.change.added.site[0] < 8 for variant in variants)
    assert sites == set(range(4, 16))
    assert 150 < octahedral < 250
    assert {variant.impurity for variant in variants} == set(metals()) - {host.element}


def test_impurities_vibrate_at_the_temperature_of_the_host():
    host = embedded_library()[0].model_copy(update={"temperature": 77.0})
    supercell = HostSupercell(host, DefectSettings(kinds=("substitution",)))
    variant = supercell.variant(0, 1)
    assert variant.change.uiso == debye_uiso(variant.impurity, 77.0)
    assert variant.change.uiso < debye_uiso(variant.impurity, 300.0)


def test_a_supercell_too_small_for_the_fraction_is_refused():
    host = next(host for host in embedded_library() if host.space_group == 229)
    narrow = DefectSettings(fraction=(0.01, 0.02), supercell=(2, 2, 2))
    with pytest.raises(ValueError, match=r"no number of its 16 atoms is 0\.01 to 0\.02"):
        HostSupercell(host, narrow).variant(0, 1)


def test_settings_are_followed():
    host = next(host for host in embedded_library() if host.space_group == 229)
    chosen = DefectSettings(
        kinds=("interstitial", "vacancy"),
        variants_per_kind=2,
        fraction=(0.25, 0.25),
        supercell=(2, 3, 4),
        impurities=("W", "Al"),
    )
    supercell = HostSupercell(host, chosen)
    variants = [supercell.variant(5, index) for index in range(chosen.n_variants)]
    assert [KINDS[v.label - 1] if v.label else None for v in variants] == [
        None, "interstitial", "interstitial", "vacancy", "vacancy"
    ]  # fmt: skip
    assert supercell.n_atoms == 48
    assert {v.concentration for v in variants[1:]} == {0.25}
    assert {v.impurity for v in variants[1:3]} <= {"W", "Al"} - {host.element}


def test_interstitials_that_do_not_fit_are_refused():
    host = next(host for host in embedded_library() if host.space_group == 225)
    crowded = DefectSettings(fraction=(0.5, 0.5), separation=2.0)
    with pytest.raises(ValueError, match="no room for 250 interstitials"):
        HostSupercell(host, crowded).variant(0, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"kinds": ()},
        {"kinds": ("vacancy", "vacancy")},
        {"fraction": (0.0, 0.1)},
        {"supercell": (1, 5, 5)},
        {"supercell": (5, 5)},
        {"impurities": ("Cu", "C")},
        {"impurities": ("Cu", "Cu")},
        {"variants_per_kind": 0},
    ],
)
def test_senseless_settings_are_refused(change):
    with pytest.raises(ValidationError):
        DefectSettings(**change)


def test_every_embedded_host_has_sites_and_can_be_drawn():
    """The whole library, one self-interstitial of the highest fraction each."""
    full = DefectSettings(kinds=("self_interstitial",), fraction=(0.1, 0.1))
    hosts = embedded_library()[::7]
    for host in hosts:
        assert interstitial_sites(host)
        assert HostSupercell(host, full).variant(0, 1).concentration == pytest.approx(0.1)
