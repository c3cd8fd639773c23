"""What of a run's samples is no G(r)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from defectgen.hosts.library import embedded_library
from defectgen.samples import Resources, UnusableItem
from defectgen.sources.defects import Defects
from defectgen.stages.strain import Strain
from hpc.observables.pdf import PairDistributionFunction
from pdfcalc import AtomicStructure, calculate_pdf


@pytest.mark.parametrize("stages", [[], [Strain()]])
def test_hosts_without_a_scattering_length_are_quarantined_by_name(stages):
    cadmium = next(host for host in embedded_library() if host.element == "Cd")
    samples = Defects.model_validate({"defects": {"supercell": [2, 2, 2]}}).draw(cadmium, 0)
    for stage in stages:
        samples = stage.apply(samples, Resources())
    with pytest.raises(UnusableItem, match="depends on the energy, and none is tabulated for Cd"):
        PairDistributionFunction(scattering="neutron", rmax=5.0).compute(samples, Resources())


def test_a_perfect_crystal_is_refined_against_each_sample():
    hosts = embedded_library()
    copper = next(host for host in hosts if (host.element, host.space_group) == ("Cu", 225))
    settings = {"defects": {"supercell": [3, 3, 3], "fraction": [0.01, 0.05], "separation": 1.0}}
    samples = Defects.model_validate(settings).draw(copper, 0)
    strained = Strain(hydrostatic=(0.003, 0.003)).apply(samples, Resources())
    pdf = PairDistributionFunction(rmax=12.0, points=100, refine_host=True)
    plain = PairDistributionFunction(rmax=12.0, points=100)
    for some, factor in ((samples, 1.0), (strained, 1.003)):
        found = pdf.compute(some, Resources())
        np.testing.assert_array_equal(found["g"], plain.compute(some, Resources())["g"])
        np.testing.assert_allclose(found["refined_cell"][0], factor * copper.a, rtol=1e-5)
        assert found["refined_uiso"][0] == pytest.approx(copper.uiso, rel=1e-3)
        left = np.sqrt(np.square(found["g"] - found["g_host"]).sum(1))
        size = np.sqrt(np.square(found["g"].astype(float)).sum(1))
        np.testing.assert_allclose(found["rw"], left / size, rtol=1e-4, atol=1e-6)
        assert found["rw"][0] < 1e-4 < found["rw"][1:].min()
    assert set(found) == set(pdf.fields())
    assert found["refined_cell"].shape == (len(samples), 3)


def test_what_has_no_perfect_crystal_can_not_be_refined():
    copper = next(host for host in embedded_library() if host.element == "Cu")
    samples = Defects().draw(copper, 0)[:1]
    samples = [dataclasses.replace(sample, crystal=None) for sample in samples]
    with pytest.raises(UnusableItem, match="names no perfect crystal"):
        PairDistributionFunction(refine_host=True).compute(samples, Resources())


def test_a_description_without_refined_hosts_is_that_of_before():
    assert "refine_host" not in PairDistributionFunction().model_dump()
    assert PairDistributionFunction(refine_host=True).model_dump()["refine_host"] is True


def test_form_factors_that_depend_on_q_are_those_of_one_structure():
    copper = next(host for host in embedded_library() if host.element == "Cu")
    kinds = {
        "kinds": ["vacancy", "substitution"],
        "variants_per_kind": 1,
        "impurities": ["Au", "Al"],
    }
    settings = {"defects": {"supercell": [2, 2, 2], "fraction": [0.125, 0.125]} | kinds}
    samples = Defects.model_validate(settings).draw(copper, 0)
    constant = PairDistributionFunction(rmax=8.0, points=60)
    falling = PairDistributionFunction(rmax=8.0, points=60, form_factors="q_dependent")
    g = constant.compute(samples, Resources())["g"]
    found = falling.compute(samples, Resources())["g"]
    largest = np.abs(g).max()
    np.testing.assert_allclose(found[:2], g[:2], atol=1e-5 * largest)
    assert np.abs(found[2] - g[2]).max() > 1e-3 * largest
    _, alone = calculate_pdf(samples[2].atoms(), falling.parameters)
    np.testing.assert_array_equal(found[2], alone[falling.stored])
    assert falling.parameters.form_factors == "q_dependent"
    assert falling.model_dump()["form_factors"] == "q_dependent"
    assert "form_factors" not in constant.model_dump()
    assert falling.lack("Cu") is None


def test_a_compound_is_not_refined_with_form_factors_that_depend_on_q():
    copper = next(host for host in embedded_library() if host.element == "Cu")
    samples = Defects().draw(copper, 0)[:1]
    salt = AtomicStructure(4 * np.eye(3), [[0, 0, 0], [0.5] * 3], ["Cu", "Au"], [0.01] * 2)
    samples = [dataclasses.replace(sample, crystal=salt) for sample in samples]
    pdf = PairDistributionFunction(rmax=8.0, form_factors="q_dependent", refine_host=True)
    with pytest.raises(UnusableItem, match="refine_host: form_factors = 'q_dependent'"):
        pdf.compute(samples, Resources())


def test_each_host_has_an_instrument_of_its_own_and_the_samples_share_it():
    hosts = [host for host in embedded_library() if host.element in ("Cu", "Al")][:4]
    source = Defects.model_validate({"defects": {"supercell": [2, 2, 2], "fraction": [0.05, 0.2]}})
    ranges = {"qmax": [14.0, 40.0], "qdamp": [0.0, 0.08]}
    own = {"rmax": 8.0, "points": 60, "refine_host": True}
    pdf = PairDistributionFunction.model_validate({**own, "instruments": ranges})
    every = [pdf.compute(source.draw(host, 3), Resources()) for host in hosts]
    assert set(every[0]) == set(pdf.fields())
    drawn = [(found["qmax"][0], found["qdamp"][0]) for found in every]
    assert len(set(drawn)) == len(hosts)
    for host, found, (qmax, qdamp) in zip(hosts, every, drawn, strict=True):
        assert 14 <= qmax <= 40
        assert 0 <= qdamp <= 0.08
        assert len(set(found["qmax"])) == 1
        plain = PairDistributionFunction.model_validate({**own, "qmax": qmax, "qdamp": qdamp})
        alone = plain.compute(source.draw(host, 3), Resources())
        for name, of in alone.items():
            np.testing.assert_array_equal(found[name], of)
    again = pdf.compute(source.draw(hosts[2], 3)[:1], Resources())
    assert again["qmax"][0] == every[2]["qmax"][0]


def test_instruments_are_in_the_description_only_where_they_differ():
    assert "instruments" not in PairDistributionFunction().model_dump()
    for ranges, message in (
        ({"qmax": [40.0, 14.0]}, "give the lower first"),
        ({"qmax": [14.0, 400.0]}, "rstep = 0.01 is too coarse for qmax = 400"),
        ({"qdamp": [-0.1, 0.1]}, "must be finite and not negative"),
    ):
        with pytest.raises(ValueError, match=message):
            PairDistributionFunction.model_validate({"instruments": ranges})
