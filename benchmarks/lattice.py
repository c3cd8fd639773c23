"""The lattice engine on one core: time of a PDF by structure type, variants, atoms and rmax.

A run takes a host with its sites to the PDFs of its variants. Reported apart are drawing the
defects, and what is computed once a process: the classes of displacements of a structure type,
which all its hosts share, and the matrices that stand for the instrument. Peak memory is that of a
new process for each size, imports included.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import (
    Row,
    Tables,
    in_turn,
    median_and_range,
    peak_memory,
    read_options,
    report,
    seconds,
)
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import DefectSettings
from defectgen.point_defects.variants import HostSupercell
from hpc.observables.pdf import PairDistributionFunction
from pdfcalc.crystals.displacements import _classify
from pdfcalc.pdf.response import baseline_response, instrument_response

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HOSTS = {
    "fcc": "amcsd-0011145",
    "bcc": "amcsd-0000670",
    "hcp": "amcsd-0011183",
    "bct": "amcsd-0014125",
    "beta-Sn": "amcsd-0011248",
    "Bi-III host": "lit-140-Bi-2000",
}
"""A published host of each structure type: Cu, Fe, Mg, In, Sn, Bi."""
MOST_MEMORY = 2048
"""MiB; more would not fit beside others on a core of a usual node."""
TYPES, VARIANTS, ATOMS, RMAX = (
    "by structure type: 5x5x5 cells, 13 variants, rmax 30 A",
    "by variants of a host: fcc, 5x5x5 cells, rmax 30 A",
    "by atoms: 13 variants, rmax 30 A",
    "by rmax: fcc, 5x5x5 cells, 13 variants",
)
"""Titles of the tables."""

Steps = dict[str, float]
"""Seconds of each step of a run."""


def host_supercell(structure: str, repeats: int = 5, n_variants: int = 13) -> HostSupercell:
    """A new supercell with room for at least so many variants, with those of a run at least."""
    host = next(host for host in embedded_library() if host.id == HOSTS[structure])
    each = max(3, math.ceil(n_variants / 4))
    return HostSupercell(host, DefectSettings(supercell=(repeats,) * 3, variants_per_kind=each))


def host_run(
    _: int, structure: str, repeats: int = 5, n_variants: int = 13, rmax: float = 30.0
) -> Steps:
    """What each step takes from a host with its sites to the PDFs of its variants."""
    supercell = host_supercell(structure, repeats, n_variants)
    # Evenly from all kinds; a single one is an interstitial impurity, which takes longest.
    indices = np.linspace(supercell.settings.n_variants - 1, 0, n_variants).astype(int).tolist()
    # As dense as by default.
    observable = PairDistributionFunction(rmax=rmax, points=round(300 * (rmax - 1.5) / 28.5))
    _classify.cache_clear()
    first_of_type = seconds(lambda: supercell.crystal.sites.class_of)
    # A further host of the type only looks its classes up.
    supercell = host_supercell(structure, repeats, n_variants)
    classes = seconds(lambda: supercell.crystal.sites.vectors)
    started = time.perf_counter()
    changes = [supercell.variant(0, index).change for index in indices]
    drawing = time.perf_counter() - started
    parameters, points = observable.parameters, observable.stored.tolist()
    pdfs = seconds(lambda: supercell.crystal.pdfs(changes, parameters, points))
    more = first_of_type - classes
    return {"classes": classes, "PDFs": pdfs, "drawing": drawing, "first of its type": more}


def measured(
    contestants: Mapping[str, Callable[[int], Steps]], n_variants: Mapping[str, int], runs: int
) -> dict[str, Row]:
    """Columns of each contestant: ms for each PDF of the engine, its two steps, and drawing.

    And ms that the first host of a structure type takes more, for all its variants.
    """
    rows = {}
    for name, found in in_turn(contestants, runs).items():
        each = 1e3 / n_variants[name]
        engine = [each * (steps["classes"] + steps["PDFs"]) for steps in found]
        parts = {
            f"{step} ms": statistics.median(steps[step] for steps in found)
            * (1e3 if step == "first of its type" else each)
            for step in found[0]
        }
        rows[name] = median_and_range("ms/PDF", engine) | parts
    return rows


def by_type(structures: tuple[str, ...], runs: int) -> list[Row]:
    contestants = {name: partial(host_run, structure=name) for name in structures}
    rows = []
    for name, row in measured(contestants, dict.fromkeys(structures, 13), runs).items():
        supercell = host_supercell(name)
        sites = len(supercell.crystal.sites.frac) * 125
        n_classes = len(supercell.crystal.sites.vectors)
        about = {"atoms": supercell.n_atoms, "sites": sites, "distinct classes": n_classes}
        rows.append({"structure": name, **about, **row})
    return rows


def by_variants(numbers: tuple[int, ...], runs: int) -> list[Row]:
    contestants = {
        str(number): partial(host_run, structure="fcc", n_variants=number) for number in numbers
    }
    found = measured(contestants, {str(number): number for number in numbers}, runs)
    return [{"variants": int(name), **row} for name, row in found.items()]


def by_atoms(structures: tuple[str, ...], repeats: tuple[int, ...], runs: int) -> list[Row]:
    cases = {f"{name} {n}": (name, n) for name in structures for n in repeats}
    contestants = {
        case: partial(host_run, structure=name, repeats=n) for case, (name, n) in cases.items()
    }
    rows = []
    for case, row in measured(contestants, dict.fromkeys(cases, 13), runs).items():
        name, n = cases[case]
        about: Row = {"structure": name, "cells": f"{n}x{n}x{n}"}
        about["atoms"] = host_supercell(name, n).n_atoms
        rows.append({**about, **row, "peak memory MiB": peak_memory(host_run, 0, name, n)})
    return rows


def by_rmax(lengths: tuple[float, ...], runs: int) -> list[Row]:
    contestants = {str(rmax): partial(host_run, structure="fcc", rmax=rmax) for rmax in lengths}
    found = measured(contestants, dict.fromkeys(contestants, 13), runs)
    first = in_turn({name: partial(first_host, of=run) for name, run in contestants.items()}, runs)
    return [
        {"rmax A": float(name), **row, "once a process ms": once_milliseconds(first[name], row)}
        for name, row in found.items()
    ]


def first_host(run: int, of: Callable[[int], Steps]) -> float:
    """Seconds for the PDFs of a host when no PDF has been computed before."""
    baseline_response.cache_clear()
    instrument_response.cache_clear()
    return of(run)["PDFs"]


def once_milliseconds(first: list[float], later: Row) -> float:
    return 1e3 * statistics.median(first) - 13 * later["PDFs ms"]


def memory_note(rows: list[Row]) -> str:
    most = max(row["peak memory MiB"] for row in rows)
    verdict = "within" if most < MOST_MEMORY else "MORE THAN"
    return f"peak memory {most:.0f} MiB, {verdict} the {MOST_MEMORY} MiB that a core may take"


def draw(tables: Tables) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    (types, variants), (atoms, rmax) = figure.subplots(2, 2)
    names = [row["structure"] for row in tables[TYPES]]
    below = np.zeros(len(names))
    for step in ("PDFs", "classes", "drawing"):
        values = [row[f"{step} ms"] for row in tables[TYPES]]
        types.barh(names, values, left=below, label=step)
        below += values
    types.set(title="Structure types, 13 variants", xlabel="ms for each PDF")
    types.invert_yaxis()
    types.legend()
    _line(variants, tables[VARIANTS], "variants", "fcc")
    variants.set(title="Variants of a host", xlabel="variants", xscale="log")
    for name in dict.fromkeys(row["structure"] for row in tables[ATOMS]):
        _line(atoms, [row for row in tables[ATOMS] if row["structure"] == name], "atoms", name)
    atoms.set(title="Size", xlabel="atoms", xscale="log", yscale="log")
    atoms.legend()
    _line(rmax, tables[RMAX], "rmax A", "fcc")
    rmax.set(title="Length", xlabel="rmax (Å)")
    for axes in (variants, rmax):
        axes.set_ylim(bottom=0)
    return figure


def _line(axes: Axes, rows: list[Row], x: str, label: str) -> None:
    low, high = zip(*(row["ms/PDF range"] for row in rows), strict=True)
    places = [row[x] for row in rows]
    axes.plot(places, [row["ms/PDF"] for row in rows], marker="o", ms=3, label=label)
    axes.fill_between(places, low, high, alpha=0.2)
    axes.set_ylabel("ms for each PDF, with classes")


def main() -> None:
    options = read_options(__doc__, runs=7)
    quick, runs = options.quick, options.runs
    sizes = (3,) if quick else (3, 4, 5, 6, 7, 8, 9, 10)
    tables = {
        TYPES: by_type(("fcc", "bcc") if quick else tuple(HOSTS), runs),
        VARIANTS: by_variants((1, 13) if quick else (1, 4, 13, 40, 130, 400, 1000), runs),
        ATOMS: by_atoms(("fcc",) if quick else ("fcc", "Bi-III host"), sizes, runs),
        RMAX: by_rmax((10.0, 15.0) if quick else (10.0, 20.0, 30.0, 40.0, 50.0, 60.0), runs),
    }
    report("lattice", options, tables, [memory_note(tables[ATOMS])], draw)


if __name__ == "__main__":
    main()
