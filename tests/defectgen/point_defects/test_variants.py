"""Defects are drawn as the settings say, from (seed, host, variant) alone."""

from __future__ import annotations

import numpy as np
import pytest
from ase.data import atomic_masses, atomic_numbers
from defects import assert_holds_what_it_says, places_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from defectgen.hosts.elements import debye_temperature, debye_uiso, metals
from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import KIND_SETS, KINDS, DefectSettings, set_name
from defectgen.point_defects.variants import HostSupercell
from defectgen.sites.interstitial import interstitial_sites
from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf
from pdfcalc.gpu.lattice import pdfs as torch_pdfs

DEFAULT, MIXED = DefectSettings(), DefectSettings(mixed_variants=3)
TINY = DefectSettings(
    supercell=(2, 2, 2), fraction=(0.05, 0.25), variants_per_kind=1, mixed_variants=1
)


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
def test_variants_hold_what_they_say(host):
    supercell = HostSupercell(host, MIXED)
    labels = [supercell.variant(0, index).label for index in range(MIXED.n_variants)]
    assert labels == [0, *(label for label in range(1, 11) for _ in range(3))]
    for index in range(MIXED.n_variants):
        assert_holds_what_it_says(supercell, supercell.variant(0, index))


@pytest.mark.parametrize("host", one_of_each_group(), ids=lambda host: str(host.space_group))
@pytest.mark.parametrize("kinds", KIND_SETS, ids=set_name)
def test_atoms_are_those_of_the_variant(host, kinds):
    supercell = HostSupercell(host, MIXED)
    nearest = host.nearest_neighbour
    pristine = _positions(supercell.atoms(supercell.variant(0, 0)))
    assert len(set(pristine)) == supercell.n_atoms == 125 * len(host.frac)
    variant = supercell.variant(0, 3 * KIND_SETS.index(kinds))
    assert KIND_SETS[variant.label] == kinds
    n = dict(zip(KINDS, variant.n_defects, strict=True))
    atoms = supercell.atoms(variant)
    positions, foreign = _positions(atoms), atoms.elements != host.element
    assert len(set(positions)) == len(positions)
    n_between = n["self_interstitial"] + n["interstitial"]
    assert len(positions) == supercell.n_atoms - n["vacancy"] + n_between
    assert foreign.sum() == n["substitution"] + n["interstitial"]
    assert set(atoms.uiso[foreign]) == ({variant.change.uiso} if foreign.any() else set())
    assert set(atoms.uiso[~foreign]) == {host.uiso}
    on_host_sites = np.array([position in set(pristine) for position in positions])
    assert (foreign & on_host_sites).sum() == n["substitution"]
    assert (~on_host_sites).sum() == n_between
    distance = periodic_distances(atoms.frac[~on_host_sites], atoms.lattice)
    assert distance.min(initial=np.inf) >= DEFAULT.separation * nearest * (1 - 1e-6)


def _positions(atoms: AtomicStructure) -> list[tuple[float, ...]]:
    return [tuple(row) for row in np.round(atoms.frac % 1, 9).tolist()]


@settings(max_examples=30)
@given(st.integers(0, 2**63 - 1), st.sampled_from(one_of_each_group()), st.integers(0, 10))
def test_engines_agree_on_the_atoms_of_a_variant(seed, host, index):
    """Of one kind and of two, by sites and by atoms, in numpy and in torch."""
    supercell = HostSupercell(host, TINY)
    variant = supercell.variant(seed, index)
    assert_holds_what_it_says(supercell, variant)
    parameters = PDFParameters(1.5, 6.0, 0.01, 0.6, 23.6, 0.03, 0.01)
    _, expected = calculate_pdf(supercell.atoms(variant), parameters, "pairs")
    points, largest = range(0, len(expected), 9), np.abs(expected).max()
    arguments = ([variant.change], parameters, points)
    (g,) = supercell.crystal.pdfs(*arguments)
    np.testing.assert_allclose(g, expected[::9], atol=2e-5 * largest)
    (of_torch,) = torch_pdfs([supercell.crystal], [arguments[0]], parameters, points)
    np.testing.assert_allclose(of_torch, expected[::9], atol=1e-4 * largest)


def test_mixtures_change_no_other_variant():
    host = embedded_library()[100]
    alone, mixed = (HostSupercell(host, some) for some in (DEFAULT, MIXED))
    for index in range(DEFAULT.n_variants):
        first, second = alone.variant(3, index), mixed.variant(3, index)
        assert places_of(first.change.removed) == places_of(second.change.removed)
        assert places_of(first.change.added) == places_of(second.change.added)
        assert first.impurity == second.impurity


def test_shares_of_two_kinds_are_uniform():
    """Kolmogorov's distance of 400 draws to the uniform distribution, as of fractions below."""
    host = next(host for host in embedded_library() if host.space_group == 225)
    many = DefectSettings(
        kinds=("substitution", "vacancy"), mixed_variants=400, fraction=(0.002, 0.2)
    )
    supercell = HostSupercell(host, many)
    drawn = [supercell.variant(0, index) for index in range(7, 407)]
    assert {KIND_SETS[variant.label] for variant in drawn} == {("vacancy", "substitution")}
    random = np.random.default_rng(0).random(400)
    place = np.sort(
        [
            (v.n_defects[0] - 1 + u) / (sum(v.n_defects) - 1)
            for v, u in zip(drawn, random, strict=True)
        ]
    )
    assert np.abs(place - (np.arange(400) + 0.5) / 400).max() < 1.63 / 20


@settings(max_examples=20)
@given(st.integers(0, 2**63 - 1), st.integers(1, 30))
def test_a_variant_depends_on_seed_host_and_index_alone(seed, index):
    host = embedded_library()[100]
    alone = HostSupercell(host, MIXED).variant(seed, index)
    among_others = HostSupercell(host, MIXED)
    for other in range(30, index, -3):
        among_others.variant(seed, other)
    again = among_others.variant(seed, index)
    for part in ("removed", "added", "own"):
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


def test_too_few_defects_for_two_kinds_are_refused():
    host = next(host for host in embedded_library() if host.space_group == 229)
    narrow = DefectSettings(fraction=(0.06, 0.1), supercell=(2, 2, 2), mixed_variants=1)
    message = rf"{host.id}: 1 defects at most are too few for two kinds with 1 of its 16 atoms each"
    with pytest.raises(ValueError, match=message):
        HostSupercell(host, narrow).variant(0, 13)


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
        {"impurities": ("Cu", "Si")},
        {"impurities": ()},
        {"impurities": ("C", "H")},
        {"impurities": ("Cu", "Cu")},
        {"variants_per_kind": 0},
        {"mixed_variants": -1},
        {"mixed_variants": 1, "kinds": ("vacancy",)},
        {"mixed_variants": 1, "fractions": {"vacancy": (0.01, 0.02)}},
        {"fractions": {"vacuum": (0.01, 0.02)}},
        {"fractions": {"interstitial": (0.01, 0.02)}, "kinds": ("vacancy", "substitution")},
        {"fractions": {"vacancy": (0.02, 0.01)}},
        {"impurity_uiso": "own"},
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


OWN_RANGES = DefectSettings(fractions={"vacancy": (0.02, 0.03), "substitution": (0.2, 0.25)})


def test_a_kind_has_its_own_range_of_fractions():
    supercell = HostSupercell(one_of_each_group()[0], OWN_RANGES)
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for seed in range(40):
        for index in range(1, OWN_RANGES.n_variants):
            variant = supercell.variant(seed, index)
            found[set_name(KIND_SETS[variant.label])].append(variant.concentration)
    for kind, concentrations in found.items():
        low, high = OWN_RANGES.fractions.get(kind, OWN_RANGES.fraction)
        assert low <= min(concentrations) < low + 0.2 * (high - low)
        assert high >= max(concentrations) > high - 0.2 * (high - low)
    assert OWN_RANGES.highest_fraction == 0.25


def test_what_is_newer_and_not_used_is_not_said():
    newer = {"fractions", "impurity_uiso", "mixed_variants", "channel_sites"}
    assert not newer & DefectSettings().model_dump().keys()
    said = OWN_RANGES.model_dump(mode="json")
    assert DefectSettings.model_validate(said) == OWN_RANGES


@settings(max_examples=30)
@given(st.sampled_from(one_of_each_group()), st.sampled_from(metals()), st.floats(0.1, 1000))
def test_impurities_are_held_as_the_hosts_atoms_are(host, impurity, kelvin):
    host = host.model_copy(update={"temperature": kelvin})
    supercell = HostSupercell(host, DefectSettings(impurity_uiso="host"))
    found = supercell.uiso_of(impurity)
    masses = {
        element: atomic_masses[atomic_numbers[element]] for element in (host.element, impurity)
    }
    ratio = (masses[host.element] / masses[impurity]) ** 0.5
    low, high = sorted((1.0, ratio))
    assert low - 1e-9 <= found.median / host.uiso <= high + 1e-9
    if kelvin > 3 * debye_temperature(host.element) * max(1, ratio):
        assert found.median == pytest.approx(host.uiso, rel=0.02)
    if kelvin < 0.02 * debye_temperature(host.element):
        assert found.median == pytest.approx(host.uiso * ratio, rel=0.02)
    rng = np.random.default_rng(0)
    drawn = np.log([found.at(rng) for _ in range(400)])
    assert np.median(drawn) == pytest.approx(np.log(found.median), abs=0.25 * found.scatter)
    assert np.log(found.ends) == pytest.approx([drawn.min(), drawn.max()], abs=0.5 * found.scatter)
    assert np.std(drawn) == pytest.approx(0.88 * found.scatter, rel=0.15)


def test_channels_hold_no_defects_where_they_are_left_out():
    outside = DefectSettings(channel_sites=False, kinds=("interstitial",), fraction=(0.1, 0.1))
    assert outside.model_dump()["channel_sites"] is False
    for host in one_of_each_group():
        supercell = HostSupercell(host, outside)
        wyckoff = [orbit.wyckoff for orbit in supercell.orbits]
        every = [orbit.wyckoff for orbit in HostSupercell(host, DefectSettings()).orbits]
        assert wyckoff == [one for one in every if (one, host.space_group) != ("4a", 140)]
        if host.space_group == 140:
            assert every[0] == "4a"
            added = supercell.variant(0, 1).change.added
            x, y, _ = supercell.crystal.sites.frac[added.site].T
            assert not ((x == y) & (x % 0.5 == 0)).any()


def test_drawn_displacements_change_nothing_else():
    host = one_of_each_group()[0]
    own, drawn = (
        HostSupercell(host, DefectSettings(impurity_uiso=rule)) for rule in ("element", "host")
    )
    for index in range(1, DEFAULT.n_variants):
        before, after = (supercell.variant(3, index) for supercell in (own, drawn))
        for name in ("removed", "added", "own"):
            assert places_of(getattr(before.change, name)) == places_of(getattr(after.change, name))
        assert (before.impurity, before.n_defects) == (after.impurity, after.n_defects)
        assert (before.change.uiso == after.change.uiso) == (before.impurity is None)
