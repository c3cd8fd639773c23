"""Hydrogen, carbon, nitrogen and oxygen between the atoms of metals, and impurities of one element.

On any device.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.data import atomic_masses, atomic_numbers
from defects import assert_holds_what_it_says, orbit_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.constants import atomic_mass, electron_volt, hbar, k
from scipy.stats import chi2_contingency

from defectgen.hosts.elements import LIGHT, metals
from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.gpu_draws import DefectDraws
from defectgen.point_defects.place_draws import PlaceDraws
from defectgen.point_defects.settings import IMPURITY_KINDS, KIND_SETS, DefectSettings
from defectgen.point_defects.variants import HostSupercell, Variant
from pdfcalc import PDFParameters, calculate_pdf

HOSTS = list({host.space_group: host for host in embedded_library()}.values())
USUAL = {
    225: ("octahedral", "octahedral"),
    229: ("tetrahedral", "octahedral"),
    194: ("tetrahedral", "octahedral"),
}
"""By space group, for hydrogen and for the others."""
MIXED = DefectSettings(
    supercell=(3, 3, 3), fraction=(0.05, 0.15), impurities=("Ag", "C", "H"), mixed_variants=1
)
ALONE = DefectSettings(kinds=("interstitial",), impurities=("O",), fraction=(0.02, 0.04))


def host_of(element: str, space_group: int) -> Host:
    hosts = embedded_library()
    return next(h for h in hosts if (h.element, h.space_group) == (element, space_group))


def assert_sits_where_it_may(supercell: HostSupercell, variant: Variant) -> None:
    assert_holds_what_it_says(supercell, variant)
    if variant.impurity not in LIGHT:
        return
    assert "substitution" not in KIND_SETS[variant.label]
    sites = {
        supercell.orbits[orbit_of(supercell, site)] for site in variant.change.added.site.tolist()
    }
    group = supercell.host.space_group
    if group in USUAL:
        assert {site.coordination for site in sites} == {USUAL[group][variant.impurity != "H"]}
    else:
        most = max(site.distance for site in supercell.orbits)
        assert min(site.distance for site in sites) == pytest.approx(most)


@settings(max_examples=40)
@given(
    st.integers(0, 2**63 - 1),
    st.sampled_from(embedded_library()),
    st.sampled_from([*LIGHT, "Pb"]),
    st.integers(1, 2),
)
def test_light_atoms_sit_on_their_usual_sites(seed, host, impurity, index):
    chosen = DefectSettings(
        kinds=("self_interstitial", "interstitial"),
        impurities=(impurity,),
        supercell=(3, 3, 3),
        variants_per_kind=1,
        fraction=(0.01, 0.1),
    )
    if impurity != host.element:
        supercell = HostSupercell(host, chosen)
        assert_sits_where_it_may(supercell, supercell.variant(seed, index))


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: str(host.space_group))
def test_of_metals_and_light_atoms_only_metals_are_substitutions(host):
    supercell = HostSupercell(host, MIXED)
    found: dict[tuple[str, ...], set[str | None]] = {}
    for seed in range(12):
        for index in range(1, MIXED.n_variants):
            variant = supercell.variant(seed, index)
            assert_sits_where_it_may(supercell, variant)
            found.setdefault(KIND_SETS[variant.label], set()).add(variant.impurity)
    for kinds, impurities in found.items():
        if "substitution" in kinds:
            assert impurities == {"Ag"}
        else:
            assert impurities == ({"Ag", "C", "H"} if "interstitial" in kinds else {None})


@pytest.mark.parametrize("chosen", [MIXED, ALONE], ids=["mixed", "alone"])
@pytest.mark.parametrize("together", [False, True], ids=["in turn", "together"])
def test_draws_on_a_device_follow_the_same_rules(chosen, together, monkeypatch):
    if together:
        monkeypatch.setattr(PlaceDraws, "_draw_in_turn", PlaceDraws._draw_together)
    supercells = [HostSupercell(host, chosen) for host in HOSTS]
    draws = DefectDraws(supercells)
    labels = range(1, MIXED.n_labels) if chosen is MIXED else [4]
    label = np.tile(np.repeat(labels, 4), len(HOSTS))
    host = np.repeat(np.arange(len(HOSTS)), len(label) // len(HOSTS))
    drawn = draws.draw(host, label, torch.arange(len(label)))
    numbers = {atomic_numbers[element] for element in chosen.impurities}
    assert set(drawn.atomic_number.tolist()) - {0} == numbers
    for row in range(len(label)):
        assert_sits_where_it_may(supercells[host[row]], draws.variant(drawn, row))


def test_both_ways_to_draw_choose_sites_and_elements_alike():
    chosen = MIXED.model_copy(
        update={"kinds": ("interstitial",), "variants_per_kind": 300, "mixed_variants": 0}
    )
    supercell = HostSupercell(host_of("Fe", 229), chosen)
    draws = DefectDraws([supercell])
    drawn = draws.draw(np.zeros(1500, int), np.full(1500, 4), torch.arange(1500))
    counts = []
    for variants in (
        [supercell.variant(0, index) for index in range(1, 301)],
        [draws.variant(drawn, row) for row in range(1500)],
    ):
        seen = [(v.impurity, orbit_of(supercell, v.change.added.site[0])) for v in variants]
        counts.append([seen.count(one) for one in sorted(set(seen))])
    # Two kinds of site for silver, one each for the others.
    assert len(counts[0]) == len(counts[1]) == 4
    assert chi2_contingency(counts).pvalue > 1e-4


def test_light_atoms_find_no_room_where_their_site_has_none():
    """Tetrahedral sites of fcc would hold them, but are not hydrogen's."""
    crowded = DefectSettings(
        kinds=("interstitial",),
        impurities=("H",),
        supercell=(2, 2, 2),
        fraction=(0.5, 0.5),
        separation=1.2,
    )
    supercell = HostSupercell(host_of("Ni", 225), crowded)
    with pytest.raises(ValueError, match="no room for 16 interstitials"):
        supercell.variant(0, 1)
    with pytest.raises(ValueError, match="no room for so many interstitials"):
        DefectDraws([supercell]).draw(np.array([0]), np.array([4]), torch.tensor([0]))


def test_a_host_that_is_its_only_impurity_is_refused():
    chosen = DefectSettings(impurities=("Cu", "N"))
    copper, other = (HostSupercell(host_of(*of), chosen) for of in (("Cu", 225), ("Fe", 229)))
    assert {other.variant(seed, 7).impurity for seed in range(3)} == {"Cu"}
    assert {copper.variant(seed, 10).impurity for seed in range(3)} == {"N"}
    message = "Cu is the only impurity that can be a substitution, and the host's own element"
    with pytest.raises(ValueError, match=f"{copper.host.id}: {message}"):
        copper.variant(0, 7)
    draws = DefectDraws([copper, other])
    hosts, labels = np.array([0, 1]), np.array([4, 3])
    assert draws.draw(hosts, labels, torch.arange(2)).atomic_number.tolist() == [7, 29]
    with pytest.raises(ValueError, match=message):
        draws.draw(hosts, np.array([3, 3]), torch.arange(2))
    only = DefectSettings(impurities=("Cu",))
    drawn = DefectDraws([HostSupercell(copper.host, only)]).draw(
        np.array([0]), np.array([1]), torch.arange(1)
    )
    assert drawn.atomic_number.tolist() == [0]


def test_substitutions_of_light_atoms_alone_are_refused():
    with pytest.raises(ValidationError) as caught:
        DefectSettings(impurities=("N", "C"))
    assert "C or N sits between atoms only: leave substitution out of kinds" in str(caught.value)
    assert DefectSettings(impurities=("N",), kinds=("interstitial", "vacancy")).impurities == ("N",)


def test_metals_come_first_whatever_the_order():
    chosen = DefectSettings(impurities=("O", "Au", "H", "Ag"))
    assert chosen.impurities == ("Ag", "Au", "H", "O")
    assert chosen.impurities_of("Ag", IMPURITY_KINDS) == ("Au",)
    assert chosen.impurities_of("Ag", ("interstitial",)) == ("Au", "H", "O")
    assert DefectSettings().impurities == metals()


@pytest.mark.parametrize(
    ("element", "space_group", "impurity", "energies"),
    [
        ("Pd", 225, "H", (69, 69, 69)),
        ("Nb", 229, "H", (107, 163, 163)),
        ("Nb", 225, "H", (80, 80, 80)),
        ("Ti", 194, "H", (145, 145, 145)),
        ("Fe", 229, "C", (70, 70, 70)),
        ("Fe", 229, "O", (50, 50, 50)),
    ],
)
@pytest.mark.parametrize("kelvin", [4.0, 300.0, 1000.0])
def test_light_atoms_are_oscillators_that_follow_the_host(
    element, space_group, impurity, energies, kelvin
):
    host = host_of(element, space_group).model_copy(update={"temperature": kelvin})
    mass = atomic_masses[atomic_numbers[impurity]] * atomic_mass
    omega = np.array(energies) * 1e-3 * electron_volt / hbar
    # Energy of each oscillator, half of it potential: m omega^2 U = hbar omega (n + 1/2).
    quanta = 0.5 + 1 / np.expm1(hbar * omega / (k * kelvin))
    local = np.mean(hbar * quanta / (mass * omega)) * 1e20
    for rule in ("host", "element"):
        chosen = ALONE.model_copy(update={"impurity_uiso": rule, "impurities": (impurity,)})
        found = HostSupercell(host, chosen).uiso_of(impurity)
        assert found.median == pytest.approx(host.uiso + local, rel=1e-3)
        assert 0.1 <= found.scatter <= 0.3


def test_engines_agree_on_light_atoms_that_scatter_less_than_nothing():
    """Hydrogen has a negative length for neutrons, and moves far."""
    supercell = HostSupercell(
        host_of("Pd", 225), DefectSettings(**{**dict(ALONE), "impurities": ("H",)})
    )
    change = supercell.variant(0, 1).change
    atoms = supercell.crystal.changed(change)
    dips = {}
    for radiation in ("xray", "neutron"):
        parameters = PDFParameters(1.5, 8.0, 0.01, 0.6, 23.6, 0.03, 0.01, radiation)
        r, expected = calculate_pdf(atoms, parameters, "pairs")
        (g,) = supercell.crystal.pdfs([change], parameters, range(len(expected)))
        np.testing.assert_allclose(g, expected, atol=2e-5 * np.abs(expected).max())
        _, pair = calculate_pdf(atoms, parameters, "pairs", pair=("Pd", "H"))
        dips[radiation] = pair[np.argmin(np.abs(r - supercell.host.a / 2))]
    assert dips["neutron"] < 0 < dips["xray"]
