"""Powder patterns on one core: time by structure type, and deviation from pymatgen's XRDCalculator.

A run takes the drawn variants of a host to their stored patterns, by their average structures and,
one variant, by the whole supercell. XRDCalculator takes the unit cell of the host alone. What is
drawn and what a process does once (tables of form factors) is outside the clock. The clock is the
processor's, of a process with one thread, so that a busy machine counts little.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Lattice, Structure

from benchmarks.common import (
    Row,
    Tables,
    in_turn,
    median_and_range,
    read_options,
    report,
)
from benchmarks.lattice import HOSTS
from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import DefectSettings
from defectgen.point_defects.variants import HostSupercell
from defectgen.samples import LatticeView, Resources, Sample
from hpc.observables.powder import PowderPattern
from pdfcalc import AtomicStructure, powder_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TIMES, DEVIATIONS = (
    "time: 5x5x5 cells, 13 variants, 20 to 120 degrees, Cu K-alpha1",
    "deviation of the host's lines from XRDCalculator",
)
"""Titles of the tables."""
OBSERVABLE, ONE_THREAD = PowderPattern(), Resources()


def host_of(structure: str) -> Host:
    return next(host for host in embedded_library() if host.id == HOSTS[structure])


def samples_of(structure: str, repeats: int) -> list[Sample]:
    """The variants of a host by default: 13."""
    supercell = HostSupercell(host_of(structure), DefectSettings(supercell=(repeats,) * 3))
    variants = [supercell.variant(0, index) for index in range(supercell.settings.n_variants)]
    return [
        Sample(
            (0, supercell.host.id, index),
            partial(supercell.atoms, variant),
            LatticeView(supercell.crystal, variant.change),
        )
        for index, variant in enumerate(variants)
    ]


def by_pymatgen(host: Host) -> tuple[np.ndarray, np.ndarray]:
    """Angles and intensities of the host's lines by XRDCalculator."""
    b = {host.element: 8 * math.pi**2 * host.uiso}
    calculator = XRDCalculator(OBSERVABLE.wavelength, debye_waller_factors=b)
    structure = Structure(Lattice(host.lattice), [host.element] * len(host.frac), host.frac)
    pattern = calculator.get_pattern(structure, False, OBSERVABLE.two_theta)
    return pattern.x, np.array(pattern.y)


def computing(_: int, samples: list[Sample]) -> float:
    """Processor time in ms of the patterns of some samples."""
    started = time.process_time()
    OBSERVABLE.compute(samples, ONE_THREAD)
    return 1e3 * (time.process_time() - started)


def computing_by_pymatgen(_: int, host: Host) -> float:
    """Processor time in ms of XRDCalculator."""
    started = time.process_time()
    by_pymatgen(host)
    return 1e3 * (time.process_time() - started)


def times(structures: tuple[str, ...], repeats: int, runs: int) -> list[Row]:
    rows = []
    for name in structures:
        samples, host = samples_of(name, repeats), host_of(name)
        contestants = {
            "ms/host": partial(computing, samples=samples),
            "ms/supercell": partial(computing, samples=[replace(samples[-1], lattice=None)]),
            "XRDCalculator ms": partial(computing_by_pymatgen, host=host),
        }
        row: Row = {"structure": name, "atoms": len(samples[0].atoms().frac)}
        for column, values in in_turn(contestants, runs).items():
            row |= median_and_range(column, values)
        rows.append(row)
    return rows


def deviations(structures: tuple[str, ...]) -> list[Row]:
    """Lines of at least a thousandth of the strongest, each scaled to that one."""
    rows = []
    for name in structures:
        host = host_of(name)
        n = len(host.frac)
        cell = AtomicStructure(host.lattice, host.frac, [host.element] * n, [host.uiso] * n)
        lines = powder_lines(cell, OBSERVABLE.parameters)
        angles, intensities = by_pymatgen(host)
        strong = np.flatnonzero(intensities > 1e-3 * intensities.max())
        nearest = np.abs(lines.two_theta - angles[strong, None]).argmin(axis=1)
        ours, theirs = lines.intensity[nearest], intensities[strong]
        rows.append(
            {
                "structure": name,
                "element": host.element,
                "lines": len(strong),
                "degrees": float(np.abs(lines.two_theta[nearest] - angles[strong]).max()),
                "of the strongest %": _percent(ours / ours.max() - theirs / theirs.max()),
                "of the line %": _percent(ours / ours.max() / (theirs / theirs.max()) - 1),
            }
        )
    return rows


def _percent(differences: np.ndarray) -> float:
    return 100 * float(np.abs(differences).max())


def draw(tables: Tables) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    names = [row["structure"] for row in tables[TIMES]]
    for column, label in (
        ("ms/host", "13 average structures"),
        ("ms/supercell", "one supercell"),
        ("XRDCalculator ms", "XRDCalculator, one cell"),
    ):
        axes.plot([row[column] for row in tables[TIMES]], names, "o", label=label)
    axes.set(xscale="log", xlabel="ms")
    axes.invert_yaxis()
    axes.legend()
    return figure


def main() -> None:
    options = read_options(__doc__, runs=7)
    structures = ("fcc", "bcc") if options.quick else tuple(HOSTS)
    repeats = 3 if options.quick else 5
    tables = {
        TIMES: times(structures, repeats, options.runs),
        DEVIATIONS: deviations(structures),
    }
    report("powder", options, tables, [], draw)


if __name__ == "__main__":
    main()
