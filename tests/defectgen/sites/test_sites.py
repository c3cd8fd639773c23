from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defectgen.hosts.host import Host
from defectgen.samples import UnusableItem
from defectgen.sites import interstitial as sites
from defectgen.sites.interstitial import interstitial_sites, searched_sites, tabulated_orbits
from defectgen.sites.voids import (
    MINIMUM_DISTANCE,
    MINIMUM_SEPARATION,
    SYMMETRY_TOLERANCE,
    find_voids,
    select_voids,
)
from pdfcalc.crystals.periodic import nearest_neighbour

FCC = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
BODY_CENTRED = [(0, 0, 0), (0.5, 0.5, 0.5)]
HCP = [(1 / 3, 2 / 3, 0.25), (2 / 3, 1 / 3, 0.75)]
BETA_TIN = [(0, 0.75, 0.125), (0, 0.25, 0.875), (0.5, 0.25, 0.625), (0.5, 0.75, 0.375)]


def bismuth_iii(x):
    quarter = [(x, x + 0.5, 0), (-x, 0.5 - x, 0), (0.5 - x, x, 0), (0.5 + x, -x, 0)]
    return [tuple(c % 1 for c in np.add(q, t)) for q in quarter for t in BODY_CENTRED]


def host(group, frac, a, c, wyckoff=None):
    label = {225: "4a", 229: "2a", 194: "2c", 139: "2a", 141: "4a", 140: "8h"}[group]
    return Host(
        id="test",
        element="Sn",
        space_group=group,
        a=a,
        c=c,
        wyckoff=wyckoff or (label,) * len(frac),
        frac=tuple(frac),
        uiso=0.01,
        uiso_source="debye",
        origin="derived",
        source="test",
    )


DHCP = host(194, [(0, 0, 0), (0, 0, 0.5), *HCP], 3.77, 12.159, wyckoff=("2a", "2a", "2c", "2c"))

NAMED = {
    "fcc": host(225, FCC, 4.05, 4.05),
    "bcc": host(229, BODY_CENTRED, 2.87, 2.87),
    "hcp Mg": host(194, HCP, 3.2093, 5.2103),
    "hcp Cd": host(194, HCP, 2.9789, 5.6177),
    "In": host(139, BODY_CENTRED, 3.2530, 4.9455),
    "Ga-III": host(139, BODY_CENTRED, 2.813, 4.452),
    "Pa": host(139, BODY_CENTRED, 3.925, 3.238),
    "beta-Hg": host(139, BODY_CENTRED, 3.995, 2.825),
    "beta-Sn": host(141, BETA_TIN, 5.8316, 3.1815),
    "Cs-IV": host(141, BETA_TIN, 3.349, 12.487),
    "Bi-III": host(140, bismuth_iii(0.153), 8.518, 4.164),
    "dhcp La": DHCP,
}

tetragonal = st.builds(
    lambda r: host(139, BODY_CENTRED, 3.0, 3.0 * r),
    st.floats(0.62, 1.8).filter(lambda r: min(abs(r - 1), abs(r - 2**0.5)) > 1e-3),
)
hosts = st.one_of(
    st.builds(lambda a: host(225, FCC, a, a), st.floats(3, 7)),
    st.builds(lambda a: host(229, BODY_CENTRED, a, a), st.floats(2.5, 7)),
    st.builds(lambda r: host(194, HCP, 3.0, 3.0 * r), st.floats(1.3, 2.1)),
    tetragonal,
    st.builds(lambda r: host(141, BETA_TIN, 5.8, 5.8 * r), st.floats(0.4, 0.9)),
    st.builds(lambda r: host(141, BETA_TIN, 3.3, 3.3 * r), st.floats(2.6, 5.0)),
    st.builds(
        lambda x, r: host(140, bismuth_iii(x), 8.5, 8.5 * r),
        st.floats(0.12, 0.18),
        st.floats(0.36, 0.52),
    ),
)


def distances(host, point):
    """To all atoms in the 5 x 5 x 5 cells around, A, rising."""
    cells = np.array(list(product(range(-2, 3), repeat=3)))
    vectors = (np.array(host.frac)[:, None] + cells - point) @ host.lattice
    return np.sort(np.linalg.norm(vectors, axis=-1).ravel())


def tetrahedral_between(spacing, a):
    """Centre of a tetrahedron with its base in one close-packed layer and its tip in the next."""
    return spacing / 2 + a**2 / (6 * spacing)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fcc", {"octahedral 4b": 4.05 / 2, "tetrahedral 8c": 4.05 * 3**0.5 / 4}),
        ("bcc", {"octahedral 6b": 2.87 / 2, "tetrahedral 12d": 2.87 * 5**0.5 / 4}),
        (
            "hcp Mg",
            {
                "octahedral 2a": np.hypot(3.2093 / 3**0.5, 5.2103 / 4),
                "tetrahedral 4f": tetrahedral_between(5.2103 / 2, 3.2093),
            },
        ),
        (
            "dhcp La",
            {
                "octahedral 4f": np.hypot(3.77 / 3**0.5, 12.159 / 8),
                "tetrahedral 4e": tetrahedral_between(12.159 / 4, 3.77),
                "tetrahedral 4f": tetrahedral_between(12.159 / 4, 3.77),
            },
        ),
        (
            "In",
            {
                "octahedral 2b": 3.2530 / 2**0.5,
                "tetrahedral 4d": np.hypot(3.2530 / 2, 4.9455 / 4),
            },
        ),
        (
            "Pa",
            {
                "tetrahedral 4d": np.hypot(3.925 / 2, 3.238 / 4),
                "octahedral 4c": 3.925 / 2,
                "tetrahedral 8j": np.hypot(3.925 / 2, 3.238**2 / (4 * 3.925)),
            },
        ),
        (
            "beta-Hg",
            {"tetrahedral 4d": np.hypot(3.995 / 2, 2.825 / 4), "octahedral 4c": 3.995 / 2},
        ),
        ("beta-Sn", {"tetrahedral 16g": 2.2574}),
        ("Cs-IV", {"6-fold 8e": 2.6161}),
    ],
)
def test_known_sites(name, expected):
    found = {site.label: site.distance for site in interstitial_sites(NAMED[name])}
    assert found == pytest.approx(expected, abs=2e-4)


def test_hcp_tetrahedral_site_is_equidistant():
    tetrahedral = interstitial_sites(NAMED["hcp Cd"])[1]
    four = distances(NAMED["hcp Cd"], tetrahedral.frac[0])[:4]
    np.testing.assert_allclose(four, tetrahedral.distance, rtol=1e-12)


@pytest.mark.parametrize("name", NAMED)
def test_search_agrees_with_the_table(name):
    assert_same(interstitial_sites(NAMED[name]), searched_sites(NAMED[name]))


@settings(max_examples=40)
@given(hosts)
def test_search_agrees_with_the_table_at_any_shape(host):
    assert tabulated_orbits(host) is not None
    assert_same(interstitial_sites(host), searched_sites(host))


def assert_same(table, search):
    assert [site.label for site in table] == [site.label for site in search]
    for one, other in zip(table, search, strict=True):
        assert one.distance == pytest.approx(other.distance, rel=1e-6)
        np.testing.assert_allclose(one.frac, other.frac, atol=1e-6)


@settings(max_examples=60)
@given(hosts)
def test_sites_keep_their_distance(host):
    nearest = distances(host, np.array(host.frac[0]))[1]
    found = interstitial_sites(host)
    assert found
    points = np.concatenate([site.frac for site in found])
    for site in found:
        assert site.frac.shape == (site.multiplicity, 3)
        assert np.all((site.frac >= 0) & (site.frac < 1))
        assert site.distance >= MINIMUM_DISTANCE * nearest
        for point in site.frac:
            assert distances(host, point)[0] == pytest.approx(site.distance, abs=1e-9)
    filled = host.model_copy(
        update={"frac": tuple(map(tuple, points)), "wyckoff": ("x",) * len(points)}
    )
    for point in points:
        assert distances(filled, point)[1] > MINIMUM_SEPARATION * nearest


@settings(max_examples=20)
@given(st.sampled_from(list(NAMED.values())), st.tuples(*[st.floats(-2, 2)] * 3))
def test_search_moves_with_the_crystal(host, shift):
    still = [void for _, void in find_voids(host.lattice, host.frac)]
    moved = [void for _, void in find_voids(host.lattice, np.array(host.frac) + shift)]
    assert len(still) == len(moved)
    for one in still:
        # Orbits at the same distance may change places in the order.
        (other,) = [void for void in moved if gap(host, one.frac + shift, void.frac) < 1e-3]
        assert other.coordination == one.coordination
        assert other.distance == pytest.approx(one.distance, abs=2 * SYMMETRY_TOLERANCE)


def gap(host, points, others):
    """Farthest that one of the points is from all of the others, A."""
    offset = points[:, None] - others
    return np.linalg.norm((offset - np.rint(offset)) @ host.lattice, axis=-1).min(axis=1).max()


def test_search_in_the_primitive_cell():
    lattice = np.array([[0, 2.0, 2.0], [2.0, 0, 2.0], [2.0, 2.0, 0]])
    found = find_voids(lattice, [(0, 0, 0)])
    assert [(v.coordination, len(v.frac)) for _, v in found] == [
        ("octahedral", 1),
        ("tetrahedral", 2),
    ]


def test_search_in_a_compound():
    frac = [*FCC, (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5), (0.5, 0.5, 0.5)]
    ((letter, void),) = find_voids(np.eye(3) * 5.64, frac, [1] * 4 + [2] * 4)
    assert (letter, void.coordination, len(void.frac)) == ("c", "8-fold", 8)


def test_host_without_sites_is_named(monkeypatch):
    monkeypatch.setattr(sites, "select_voids", lambda *_: [])
    with pytest.raises(ValueError, match="host test: no interstitial site"):
        interstitial_sites(NAMED["fcc"])


def test_host_with_channel_sites_alone_is_named(monkeypatch):
    first = lambda lattice, frac, orbits: select_voids(lattice, frac, orbits[:1])  # noqa: E731
    monkeypatch.setattr(sites, "select_voids", first)
    assert [site.label for site in interstitial_sites(NAMED["Bi-III"])] == ["8-fold 4a"]
    with pytest.raises(UnusableItem, match=r"host test: all .* channel_sites = false leaves out"):
        interstitial_sites(NAMED["Bi-III"], channels=False)
    assert interstitial_sites(NAMED["fcc"], channels=False)


@pytest.mark.parametrize("find", [sites._all_sites, searched_sites])
def test_channels_are_known_by_where_they_are(find, monkeypatch):
    monkeypatch.setattr(sites, "_all_sites", find)
    found = [site.wyckoff for site in interstitial_sites(NAMED["Bi-III"], channels=False)]
    assert found == [site.wyckoff for site in find(NAMED["Bi-III"])][1:]


def test_middle_of_a_bond_is_no_site():
    lattice, frac = np.eye(3) * 4.0, np.array(FCC)
    assert select_voids(lattice, frac, [(np.array([(0.25, 0.25, 0)]), True)]) == []


def test_sites_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        interstitial_sites(DHCP)[0].frac[0, 0] = 0.5


def test_nearest_neighbour_counts_own_images():
    assert nearest_neighbour(np.diag([3.0, 5.0, 40.0]), np.zeros((1, 3))) == pytest.approx(3.0)
    skewed = np.array([[3.0, 0, 0], [8.9, 1.0, 0], [0, 0, 9.0]])
    assert nearest_neighbour(skewed, np.zeros((1, 3))) == pytest.approx(np.hypot(0.1, 1.0))
