"""What every variant of a host must hold, for tests of draws on any device."""

from __future__ import annotations

import numpy as np
import pytest

from defectgen.hosts.elements import LIGHT, debye_uiso
from defectgen.point_defects.settings import IMPURITY_KINDS, KIND_SETS, KINDS
from defectgen.point_defects.variants import HostSupercell, Variant
from pdfcalc.crystals.displacements import Occupied


def assert_holds_what_it_says(supercell: HostSupercell, variant: Variant) -> None:
    """Numbers, elements and places of its defects."""
    kinds, n = KIND_SETS[variant.label], dict(zip(KINDS, variant.n_defects, strict=True))
    assert {kind for kind, count in n.items() if count} == set(kinds)
    assert variant.concentration == pytest.approx(sum(n.values()) / supercell.n_atoms)
    if kinds:
        fewest, most = supercell.count_range(kinds)
        assert min(n[kind] for kind in kinds) >= fewest
        assert sum(n.values()) <= most
    change, n_host = variant.change, len(supercell.host.frac)
    removed, added, own = (places_of(at) for at in (change.removed, change.added, change.own))
    replaced = {place for place in added if place[0] < n_host}
    assert (len(removed), len(added), len(own), len(replaced)) == (
        n["vacancy"] + n["substitution"],
        n["substitution"] + n["interstitial"],
        n["self_interstitial"],
        n["substitution"],
    )
    assert replaced <= removed
    assert all(place[0] < n_host for place in removed)
    between = (added - replaced) | own
    assert len(between) == n["self_interstitial"] + n["interstitial"]
    assert len({orbit_of(supercell, place[0]) for place in between}) == bool(between)
    apart = separations(supercell, sorted(between))
    assert apart.min(initial=np.inf) >= supercell.least_separation * (1 - 1e-6)
    host = supercell.host
    if set(kinds) & set(IMPURITY_KINDS):
        assert variant.impurity in set(supercell.settings.impurities) - {host.element}
        assert change.element == variant.impurity
        if variant.impurity in LIGHT:
            low, high = supercell.uiso_of(variant.impurity).ends
            assert low <= change.uiso <= high
        else:
            assert change.uiso == debye_uiso(variant.impurity, host.kelvin)
    else:
        assert variant.impurity is None
        assert change.uiso == host.uiso


def places_of(at: Occupied) -> set[tuple[int, ...]]:
    """Site and cell of each place, of which none may be there twice."""
    places = {(s, *c) for s, c in zip(at.site.tolist(), at.cell.tolist(), strict=True)}
    assert len(places) == len(at.site)
    return places


def orbit_of(supercell: HostSupercell, site: int) -> int:
    """The kind of interstitial site that a site is of; -1 for the host's own."""
    ends = np.cumsum([len(supercell.host.frac), *(len(orbit.frac) for orbit in supercell.orbits)])
    return int(np.searchsorted(ends, site, side="right")) - 1


def separations(supercell: HostSupercell, places: list[tuple[int, ...]]) -> np.ndarray:
    """Distances of all pairs of different places, A."""
    sites, array = supercell.crystal.sites, np.array(places, dtype=int).reshape(-1, 4)
    first, second = np.triu_indices(len(array), 1)
    cell = (array[second, 1:] - array[first, 1:]) % sites.repeats
    flat = np.ravel_multi_index(tuple(cell.T), tuple(sites.repeats))
    return sites.shortest[sites.class_of[array[first, 0], array[second, 0], flat]]
