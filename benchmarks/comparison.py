"""The same structures through this toolkit's engines and through other programs, on one core.

- Crystals: 5x5x5 cells of copper with the defects of a default run. Each run times another of its
  variants, so that diffpy.srreal's OPTIMIZED evaluator updates what differs from the last one. The
  lattice engine is also given all variants together, as a run does it.
- Particles: displaced atoms of copper and nickel, seen by neutrons, with an rmax beyond the longest
  distance. DebyeCalculator counts each pair once, so that its G(r) is doubled here. Its form
  factors for X-rays depend on Q and have no counterpart in the others, hence neutrons; it takes
  one Uiso for all atoms; its Q-grid is set to that of the others' transform; and it computes in
  single precision by default.

Agreement is the largest max |dG| / max |G| with the pairs engine over the runs. What the other
programs can be given before (structures, grids) is made before the clock starts. A program that is
not installed is left out.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.common import Row, Tables, in_turn, median_and_range, read_options, report
from benchmarks.lattice import host_supercell
from benchmarks.pairs import UISO, particle
from hpc.observables.pdf import PDFSettings
from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf
from pdfcalc.pdf.diffpy import diffpy_calculator, diffpy_structure
from pdfcalc.pdf.lattice import Change, LatticeCrystal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CRYSTALS = "crystals: fcc, 5x5x5 cells with defects"
OTHER_PROGRAMS = {
    "diffpy.srreal": "diffpy.srreal.pdfcalculator",
    "DebyeCalculator": "debyecalculator",
}
"""The module of each."""


class PDF(NamedTuple):
    """What one run gives."""

    seconds: float
    g: np.ndarray


Contestant = Callable[[int], PDF]
"""From the number of a run."""


def compare(contestants: dict[str, Contestant], runs: int) -> list[Row]:
    """Time of a PDF, its ratio to that of the pairs engine in the same run, and the agreement."""
    found = in_turn(contestants, runs)
    rows = []
    for name, pdfs in found.items():
        both = list(zip(pdfs, found["pairs"], strict=True))
        differences = [np.abs(own.g - pairs.g).max() / np.abs(pairs.g).max() for own, pairs in both]
        rows.append(
            {
                "engine": name,
                **median_and_range("ms/PDF", [1e3 * own.seconds for own in pdfs]),
                **median_and_range(
                    "time / pairs", [own.seconds / pairs.seconds for own, pairs in both]
                ),
                "difference": float(max(differences)),
            }
        )
    return rows


def one_by_one(calculate: Callable[[Any], np.ndarray], structures: Sequence[Any]) -> Contestant:
    """Another structure each run."""

    def contestant(run: int) -> PDF:
        structure = structures[run % len(structures)]
        started = time.perf_counter()
        g = calculate(structure)
        return PDF(time.perf_counter() - started, g)

    return contestant


def together(
    crystal: LatticeCrystal, changes: Sequence[Change], parameters: PDFParameters
) -> Contestant:
    """All variants of a crystal each run; the time is for one of them."""
    points = range(len(parameters.r))

    def contestant(run: int) -> PDF:
        started = time.perf_counter()
        g = crystal.pdfs(changes, parameters, points)
        return PDF((time.perf_counter() - started) / len(changes), g[run % len(changes)])

    return contestant


def our_engine(engine: str, parameters: PDFParameters) -> Callable[[AtomicStructure], np.ndarray]:
    return lambda structure: calculate_pdf(structure, parameters, engine)[1]


def diffpy(
    structures: Sequence[AtomicStructure], parameters: PDFParameters
) -> dict[str, Contestant]:
    """Both evaluators of diffpy.srreal, if it is installed."""
    if is_missing("diffpy.srreal"):
        return {}
    contestants = {}
    for evaluator in ("BASIC", "OPTIMIZED"):
        calculator = diffpy_calculator(parameters)
        calculator.evaluatortype = evaluator
        contestants[f"diffpy.srreal, {evaluator}"] = one_by_one(
            partial(_second, calculator), [diffpy_structure(atoms) for atoms in structures]
        )
    return contestants


def debye_calculator(
    structures: Sequence[AtomicStructure], parameters: PDFParameters
) -> dict[str, Contestant]:
    """DebyeCalculator, if it is installed; for particles."""
    if is_missing("DebyeCalculator"):
        return {}
    from debyecalculator import DebyeCalculator

    padded = 2 ** math.ceil(math.log2(parameters.extended_grid.size))
    qstep = math.pi / (padded * parameters.rstep)
    calculator = DebyeCalculator(
        qmin=math.ceil(parameters.qmin / qstep) * qstep,
        qmax=parameters.qmax,
        qstep=qstep,
        qdamp=parameters.qdamp,
        # Its grid is made by adding up steps, which must not skip or repeat the last point.
        rmin=parameters.r[0],
        rmax=parameters.r[-1] + 0.5 * parameters.rstep,
        rstep=parameters.rstep,
        biso=8 * math.pi**2 * UISO,
        device="cpu",
        radiation_type="neutron",
    )
    atoms = [(structure.elements.tolist(), structure.frac) for structure in structures]
    return {"DebyeCalculator": one_by_one(lambda source: 2 * _second(calculator.gr, source), atoms)}


def _second(function: Callable[[Any], Any], argument: object) -> np.ndarray:
    """G(r) of a function that gives (r, G(r))."""
    return np.asarray(function(argument)[1])


def is_missing(program: str) -> bool:
    try:
        importlib.import_module(OTHER_PROGRAMS[program])
    except ImportError:
        return True
    return False


def crystals(repeats: int, runs: int) -> list[Row]:
    supercell, settings = host_supercell("fcc", repeats), PDFSettings()
    # Five further each time, so that a few runs meet all kinds of defects.
    indices = [5 * run % 13 for run in range(13)]
    variants = [supercell.variant(0, index) for index in indices]
    structures = [supercell.atoms(variant) for variant in variants]
    changes = [variant.change for variant in variants]
    contestants = {
        "pairs": one_by_one(our_engine("pairs", settings.parameters), structures),
        "lattice": one_by_one(our_engine("lattice", settings.parameters), structures),
        "lattice, 13 together": together(supercell.crystal, changes, settings.parameters),
        **diffpy(structures, settings.parameters),
    }
    return compare(contestants, runs)


def particles(n_atoms: int, runs: int) -> list[Row]:
    copper = particle(n_atoms)
    elements = np.where(np.random.default_rng(0).random(n_atoms) < 0.5, "Cu", "Ni")
    structure = AtomicStructure.finite(copper.frac, elements, copper.uiso)
    diameter = 2 * np.linalg.norm(copper.frac - copper.frac.mean(axis=0), axis=1).max()
    parameters = PDFParameters(
        rmin=1.5,
        rmax=float(np.ceil(diameter + 1)),
        qmin=0.6,
        qmax=23.6,
        qdamp=0.029,
        scattering="neutron",
    )
    contestants = {
        "pairs": one_by_one(our_engine("pairs", parameters), [structure]),
        **diffpy([structure], parameters),
        **debye_calculator([structure], parameters),
    }
    return [{"atoms": n_atoms, **row} for row in compare(contestants, runs)]


def draw(tables: Tables) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    crystal_rows, particle_rows = tables.values()
    times = [row["ms/PDF"] for row in crystal_rows]
    bars = left.barh([row["engine"] for row in crystal_rows], times)
    left.bar_label(bars, [f"{value:.3g}" for value in times], padding=3)
    left.set(title=CRYSTALS, xlabel="ms for each PDF", xscale="log")
    left.margins(x=0.2)
    left.invert_yaxis()
    for engine in dict.fromkeys(row["engine"] for row in particle_rows):
        rows = [row for row in particle_rows if row["engine"] == engine]
        sizes = [row["atoms"] for row in rows]
        right.loglog(sizes, [row["ms/PDF"] for row in rows], marker="o", ms=3, label=engine)
    right.set(title="particles", xlabel="atoms", ylabel="ms for each PDF")
    right.legend()
    return figure


def main() -> None:
    options = read_options(__doc__, runs=5)
    sizes = (60, 120) if options.quick else (200, 1000, 5000, 20000)
    tables = {
        CRYSTALS: crystals(2 if options.quick else 5, options.runs),
        "particles": [row for size in sizes for row in particles(size, options.runs)],
    }
    notes = [f"{program} is not installed" for program in OTHER_PROGRAMS if is_missing(program)]
    report("comparison", options, tables, notes, draw)


if __name__ == "__main__":
    main()
