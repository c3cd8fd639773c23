from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from defectgen.hosts.elements import LIGHT
from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.plugins import find_plug_in
from defectgen.samples import Resources, Sample, UnusableItem
from defectgen.sources.defects import Defects
from defectgen.stages.relaxed import Relaxed
from defectgen.stages.strain import Strain
from hpc.description import RunDescription

SOURCE = Defects.model_validate(
    {"defects": {"fraction": [0.004, 0.012], "separation": 2.0, "variants_per_kind": 2}}
)
VACANCY, SELF, SUBSTITUTION, FOREIGN = 1, 3, 5, 7


@lru_cache
def host_of(element: str, space_group: int) -> Host:
    hosts = embedded_library(published_only=True)
    return next(h for h in hosts if (h.element, h.space_group) == (element, space_group))


@lru_cache
def drawn(element: str = "Cu", space_group: int = 225) -> tuple[list[Sample], list[Sample]]:
    """Samples on their sites, and relaxed."""
    samples = SOURCE.draw(host_of(element, space_group), seed=0)
    return samples, Relaxed().apply(samples, Resources())


def distances(sample: Sample) -> np.ndarray:
    atoms = sample.atoms()
    between = atoms.frac[:, None] - atoms.frac
    lengths = np.linalg.norm((between - np.rint(between)) @ atoms.lattice, axis=-1)
    return lengths + 99 * np.eye(len(lengths))


@pytest.mark.parametrize(("element", "group"), [("Cu", 225), ("Fe", 229), ("Mg", 194), ("Sn", 141)])
def test_atoms_are_the_same_and_elsewhere(element, group):
    for before, after in zip(*drawn(element, group), strict=True):
        one, other = before.atoms(), after.atoms()
        np.testing.assert_array_equal(one.elements, other.elements)
        np.testing.assert_array_equal(one.uiso, other.uiso)
        strain = after.values["volume_strain"]
        assert other.volume / one.volume == pytest.approx(1 + strain, abs=5e-4)
        if before.key[2] == 0:
            assert after.lattice is before.lattice
            assert (strain, after.values["largest_displacement"]) == (0, 0)
        else:
            assert after.lattice is None
            moved = (other.frac - one.frac) @ one.lattice
            assert np.abs(moved).max() > 0.01
            # No two atoms come near each other.
            assert distances(after).min() > 0.65 * host_of(element, group).nearest_neighbour


def test_kinds_change_the_cell_as_their_volumes_do():
    _, relaxed = drawn("Cu", 225)
    volumes = {
        label: relaxed[label].values["volume_strain"] / relaxed[label].values["concentration"]
        for label in (VACANCY, SELF)
    }
    assert volumes[VACANCY] == pytest.approx(-0.30, abs=0.01)
    assert volumes[SELF] == pytest.approx(1.84, abs=0.02)


@pytest.mark.parametrize(
    ("element", "group", "direction"), [("Cu", 225, (1, 0, 0)), ("Fe", 229, (1, 1, 0))]
)
def test_self_interstitials_share_a_site(element, group, direction):
    host = host_of(element, group)
    sample = drawn(element, group)[1][SELF]
    atoms = sample.atoms()
    n_defects = round(sample.values["concentration"] * 125 * len(host.frac))
    expected = 0.84 * host.nearest_neighbour * np.array(direction) / np.linalg.norm(direction)
    # The host's own atoms come first.
    for own in range(len(atoms.frac) - n_defects, len(atoms.frac)):
        between = atoms.frac - atoms.frac[own]
        along = np.sort(np.abs((between - np.rint(between)) @ atoms.lattice))[:, ::-1]
        assert (np.abs(along - expected).max(axis=1) < 0.03 * host.a).sum() == 1


def test_without_dumbbells_self_interstitials_stay_between_atoms():
    samples, _ = drawn("Cu", 225)
    (sample,) = Relaxed(dumbbells=False).apply(samples[SELF : SELF + 1], Resources())
    nearest = distances(sample).min(axis=1)
    # Octahedral ones have six atoms at half the cell, which they push away.
    assert 1.05 < nearest.min() / (host_of("Cu", 225).a / 2) < 1.35


def test_a_sample_is_relaxed_alike_in_any_company():
    samples, relaxed = drawn("Fe", 229)
    for index in (VACANCY, SELF, FOREIGN):
        (alone,) = Relaxed().apply(
            SOURCE.draw(host_of("Fe", 229), 0)[index : index + 1], Resources()
        )
        assert alone.atoms().frac.tobytes() == relaxed[index].atoms().frac.tobytes()
        assert alone.values == relaxed[index].values
    assert samples[SELF].lattice is not None


def test_amplitudes_scale_what_atoms_do():
    samples, _ = drawn("Cu", 225)
    strains = [
        Relaxed(amplitude=(size, size)).apply(samples[1:], Resources()) for size in (0.0, 0.5, 1.0)
    ]
    none, half, whole = (
        np.array([sample.values["volume_strain"] for sample in some]) for some in strains
    )
    assert not none.any()
    np.testing.assert_allclose(half[:2], 0.5 * whole[:2], rtol=1e-3)
    drawn_sizes = Relaxed(amplitude=(0.7, 1.3)).apply(samples[1:3], Resources())
    sizes = [
        one.values["volume_strain"] / full for one, full in zip(drawn_sizes, whole, strict=False)
    ]
    assert all(0.7 <= size <= 1.3 for size in sizes)
    assert sizes[0] != pytest.approx(sizes[1], rel=1e-3)
    with pytest.raises(ValueError, match="give the lower end first"):
        Relaxed(amplitude=(1.3, 0.7))


def test_atoms_off_their_sites_and_crowded_ones_are_refused():
    samples, _ = drawn("Cu", 225)
    strained = Strain().apply(samples[:1], Resources())
    with pytest.raises(UnusableItem, match="make it the first stage"):
        Relaxed().apply(strained, Resources())
    crowded = Defects.model_validate({"defects": {"fraction": [0.3, 0.3], "separation": 0.5}})
    cells = crowded.draw(host_of("Na", 229), 0)
    with pytest.raises(UnusableItem, match=r"variant \d+: its defects push an atom by"):
        Relaxed().apply(cells, Resources())


def test_a_description_names_it():
    description = RunDescription.model_validate({"stage": [{"name": "relaxed"}]})
    assert description.stages == (Relaxed(),)
    assert find_plug_in("defectgen.stages", "relaxed") is Relaxed
    assert Relaxed.exact


def one_light_atom(element: str, space_group: int, impurity: str) -> tuple[Sample, Sample]:
    host = host_of(element, space_group)
    one = 1 / (125 * len(host.frac))
    kinds = {"kinds": ["interstitial"], "impurities": [impurity], "fraction": [one, one]}
    (sample,) = Defects.model_validate({"defects": kinds}).draw(host, seed=0)[1:2]
    (relaxed,) = Relaxed().apply([sample], Resources())
    return sample, relaxed


def test_hydrogen_pushes_palladium_as_much_as_it_is_known_to():
    """2.9 A^3; the nearest by some 4 % (DFT and Kanzaki forces: Pramana 69 (2007) 255)."""
    before, after = one_light_atom("Pd", 225, "H")
    assert after.values["volume_strain"] * before.atoms().volume == pytest.approx(2.9, rel=0.01)
    moved = np.sort(distances(after)[-1])[:6] / np.sort(distances(before)[-1])[:6] - 1
    np.testing.assert_allclose(moved, 0.043, atol=0.008)


def test_carbon_makes_iron_tetragonal_along_its_short_axis():
    """As martensite: longer along c, and not along a; by the volume of its cells."""
    before, after = one_light_atom("Fe", 229, "C")
    strain = np.linalg.solve(before.atoms().lattice, after.atoms().lattice) - np.eye(3)
    per_atom = np.sort(np.diag(strain)) * 250
    assert 0.5 < per_atom[2] < 0.9
    np.testing.assert_allclose(per_atom[:2], 0.02, atol=0.05)
    assert per_atom.sum() * before.atoms().volume / 250 == pytest.approx(7.9, rel=0.01)
    nearest = np.sort(distances(after)[-1])[:2] - np.sort(distances(before)[-1])[:2]
    np.testing.assert_allclose(nearest, 0.38, atol=0.05)


@pytest.mark.parametrize("impurity", LIGHT)
@pytest.mark.parametrize(("element", "group"), [("Zr", 194), ("In", 139), ("Sn", 141), ("K", 229)])
def test_light_atoms_can_be_relaxed_in_any_structure(element, group, impurity):
    _, after = one_light_atom(element, group, impurity)
    assert 0 < after.values["volume_strain"] < 0.003
    assert distances(after).min() > 0.4 * host_of(element, group).nearest_neighbour
