"""First and second order of what displacements change, beside the engine's G(r)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from benchmarks.studies.pair_shifts import PairShifts
from benchmarks.studies.relaxed_limits import host_of
from defectgen.point_defects.settings import DefectSettings
from defectgen.samples import Resources, Sample
from defectgen.stages.relaxed import Relaxed
from hpc.observables.pdf import PDFSettings
from pdfcalc import AtomicStructure, calculate_pdf
from train.problems.defects.relaxed_means import RelaxedMeans, State

PDF = PDFSettings(rmax=9.0, points=70)
PARAMETERS = PDF.parameters


@cache
def vacancy() -> Sample:
    """One in copper."""
    settings = DefectSettings(supercell=(3, 3, 3))
    (sample,) = RelaxedMeans(host_of("Cu", 225), settings, PDF, draws=1).samples(State("vacancy"))
    return sample


def relaxed(amplitude: float) -> AtomicStructure:
    (sample,) = Relaxed(amplitude=(amplitude, amplitude)).apply([vacancy()], Resources())
    return sample.atoms()


def test_what_the_orders_miss_falls_as_the_square_and_the_cube_of_the_field():
    before = vacancy().atoms()
    g = calculate_pdf(before, PARAMETERS, engine="pairs")[1]
    missed = []
    for amplitude in (1.0, 0.5):
        after = relaxed(amplitude)
        exact = calculate_pdf(after, PARAMETERS, engine="pairs")[1] - g
        first, second = PairShifts.between(before, after, PARAMETERS).change(PARAMETERS)
        sizes = [np.linalg.norm(left) for left in (exact, exact - first, exact - first - second)]
        assert sizes[0] > 5 * sizes[1] > 25 * sizes[2]
        missed.append(sizes)
    falls = np.divide(*missed)
    assert falls == pytest.approx([2, 4, 8], rel=0.05)


def test_distances_grow_on_average_by_what_the_missing_pairs_would_have_shrunk():
    before, amplitude = vacancy().atoms(), 0.05
    after = relaxed(amplitude)
    about_strain = replace(before, lattice=after.lattice)
    shifts = PairShifts.between(about_strain, after, PARAMETERS)
    assert vacancy().lattice is not None
    crystal, change = vacancy().lattice
    hole = crystal.sites.frac[change.removed.site[0]] + change.removed.cell[0]
    away = before.frac - hole / crystal.sites.repeats
    away = (away - np.rint(away)) @ after.lattice
    distance = np.linalg.norm(away, axis=1)
    radial = np.sum((after.frac - before.frac) @ after.lattice * away, axis=1) / distance
    for shell in range(3):
        near = np.abs(distance - shifts.distance[shell]) < 1e-3
        of_missing = -2 * radial[near].sum() / (len(before.frac) * shifts.pairs[shell])
        assert shifts.mean[shell] == pytest.approx(of_missing, rel=0.02)
    assert shifts.mean[0] > 0
