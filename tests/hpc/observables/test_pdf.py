"""What of a run's samples is no G(r)."""

from __future__ import annotations

import pytest

from defectgen.hosts.library import embedded_library
from defectgen.samples import Resources, UnusableItem
from defectgen.sources.defects import Defects
from defectgen.stages.strain import Strain
from hpc.observables.pdf import PairDistributionFunction


@pytest.mark.parametrize("stages", [[], [Strain()]])
def test_hosts_without_a_scattering_length_are_quarantined_by_name(stages):
    cadmium = next(host for host in embedded_library() if host.element == "Cd")
    samples = Defects.model_validate({"defects": {"supercell": [2, 2, 2]}}).draw(cadmium, 0)
    for stage in stages:
        samples = stage.apply(samples, Resources())
    with pytest.raises(UnusableItem, match="depends on the energy, and none is tabulated for Cd"):
        PairDistributionFunction(scattering="neutron", rmax=5.0).compute(samples, Resources())
