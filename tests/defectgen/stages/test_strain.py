from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defectgen.hosts.library import embedded_library
from defectgen.plugins import find_plug_in
from defectgen.samples import Resources, Sample
from defectgen.sources.defects import Defects
from defectgen.stages.strain import COMPONENTS, MOST, Strain
from hpc.description import RunDescription
from hpc.observables.pdf import PairDistributionFunction

HOST = next(host for host in embedded_library() if host.space_group == 194)
SOURCE = Defects.model_validate({"defects": {"supercell": [2, 2, 2]}})
ANY = Strain(hydrostatic=(-0.01, 0.02), axial=(-0.03, 0.03), shear=(0.0, 0.015))


def drawn() -> list[Sample]:
    return SOURCE.draw(HOST, seed=3)


def tensor(sample: Sample) -> np.ndarray:
    xx, yy, zz, yz, xz, xy = sample.values["strain"]
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def test_atoms_go_with_their_cell():
    before, after = drawn(), ANY.apply(drawn(), Resources())
    assert [sample.key for sample in after] == [sample.key for sample in before]
    for one, strained in zip(before, after, strict=True):
        atoms, moved = one.atoms(), strained.atoms()
        np.testing.assert_allclose(moved.lattice, atoms.lattice @ (np.eye(3) + tensor(strained)))
        np.testing.assert_array_equal(moved.frac, atoms.frac)
        np.testing.assert_array_equal(moved.elements, atoms.elements)
        assert strained.lattice is None
        assert strained.values.keys() - one.values.keys() == {"strain"}


def test_each_sample_has_a_strain_of_its_own_whatever_its_company():
    every = ANY.apply(drawn(), Resources())
    strains = np.array([sample.values["strain"] for sample in every])
    assert len(np.unique(strains, axis=0)) == len(every)
    (alone,) = ANY.apply(drawn()[5:6], Resources())
    np.testing.assert_array_equal(alone.values["strain"], strains[5])
    other = SOURCE.draw(HOST, seed=4)
    assert (ANY.apply(other, Resources())[5].values["strain"] != strains[5]).all()


@settings(max_examples=50)
@given(*[st.lists(st.floats(-MOST, MOST), min_size=2, max_size=2).map(sorted) for _ in range(3)])
def test_strains_stay_in_their_ranges(hydrostatic, axial, shear):
    stage = Strain.model_validate({"hydrostatic": hydrostatic, "axial": axial, "shear": shear})
    sample = Sample((0, "host", 1), drawn()[0].atoms)
    xx, yy, zz, *shears = stage.apply([sample], Resources())[0].values["strain"]
    low, high = (h + a for h, a in zip(hydrostatic, axial, strict=True))
    assert all(low - 1e-12 <= e <= high + 1e-12 for e in (xx, yy, zz))
    assert all(shear[0] <= e <= shear[1] for e in shears)


def test_a_hydrostatic_strain_gives_the_pdf_of_a_larger_cell():
    pdf = PairDistributionFunction(rmax=8.0, points=200)
    (sample,) = Strain(hydrostatic=(0.01, 0.01)).apply(drawn()[:1], Resources())
    strained = pdf.compute([sample], Resources())["g"][0]
    larger = HOST.changed(1.01 * HOST.a, 1.01 * HOST.c, HOST.uiso)
    expected = pdf.compute(SOURCE.draw(larger, seed=3)[:1], Resources())["g"][0]
    np.testing.assert_allclose(strained, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("bad", [[0.01, -0.01], [0.0, 0.5], [-0.3, 0.0], [float("nan"), 0.0]])
def test_ranges_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match=r"give the lower end first|finite number"):
        Strain.model_validate({"axial": bad})


def test_a_description_names_it():
    values = {"stage": [{"name": "strain", "shear": [0.0, 0.01]}]}
    description = RunDescription.model_validate(values)
    assert description.stages == (Strain(shear=(0.0, 0.01)),)
    assert RunDescription.model_validate(description.model_dump(mode="json")) == description
    assert find_plug_in("defectgen.stages", "strain") is Strain
    assert tuple(Strain().coordinates()["voigt"].values.tolist()) == COMPONENTS
