"""The pairs engine on one core: time of a PDF by atoms and by rmax, for atoms that share no sites.

The structures are copper with every atom displaced at random: supercells, and spheres cut from
them as particles. Exponents of power laws are fitted to the upper half of the sizes. Peak memory
is that of a new process for each size, imports included.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import (
    Row,
    Tables,
    exponent,
    in_turn,
    median_and_range,
    peak_memory,
    read_options,
    report,
    seconds,
)
from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CUBE = 3.615
"""Cell of copper, A."""
UISO = 0.0065
"""A^2; also the variance of the displacements along each axis."""
CRYSTALS, PARTICLES, RMAX = (
    "crystals by atoms: rmax 30 A",
    "particles by atoms: rmax 30 A",
    "crystal by rmax",
)
"""Titles of the tables."""


def crystal(repeats: int) -> AtomicStructure:
    """A supercell of `repeats`^3 cubes of copper, its atoms displaced."""
    lattice, positions = CUBE * repeats * np.eye(3), _positions(repeats)
    return AtomicStructure(lattice, positions / (CUBE * repeats), *_copper(len(positions)))


def particle(n_atoms: int) -> AtomicStructure:
    """The `n_atoms` atoms nearest to a point of copper, displaced."""
    # A cube twice as large as they need holds their sphere.
    repeats = round(np.ceil((2 * n_atoms / 4) ** (1 / 3)))
    positions = _positions(repeats)
    from_centre = np.linalg.norm(positions - 0.5 * CUBE * repeats, axis=1)
    chosen = positions[np.argsort(from_centre)[:n_atoms]]
    return AtomicStructure.finite(chosen, *_copper(n_atoms))


def _positions(repeats: int) -> np.ndarray:
    """(N, 3) displaced atoms of a cube of copper, A."""
    cells = np.indices((repeats,) * 3).reshape(3, -1).T
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    ideal = CUBE * (cells[:, None] + corners).reshape(-1, 3)
    return ideal + np.random.default_rng(0).normal(0, UISO**0.5, ideal.shape)


def _copper(n_atoms: int) -> tuple[list[str], np.ndarray]:
    return ["Cu"] * n_atoms, np.full(n_atoms, UISO)


def parameters(rmax: float = 30.0) -> PDFParameters:
    return PDFParameters(rmin=1.5, rmax=rmax, qmin=0.6, qmax=23.6, qdamp=0.029, qbroad=0.010)


def pdf_of(structure: AtomicStructure, rmax: float = 30.0) -> None:
    calculate_pdf(structure, parameters(rmax), engine="pairs")


def timed_pdf(_: int, structure: AtomicStructure, rmax: float = 30.0) -> float:
    """Milliseconds."""
    return 1e3 * seconds(lambda: pdf_of(structure, rmax))


def by_atoms(structures: Sequence[AtomicStructure], runs: int) -> list[Row]:
    named = {str(len(atoms.frac)): atoms for atoms in structures}
    found = in_turn(
        {name: partial(timed_pdf, structure=atoms) for name, atoms in named.items()}, runs
    )
    return [
        {
            "atoms": int(name),
            **median_and_range("ms/PDF", found[name]),
            "peak memory MiB": peak_memory(pdf_of, atoms),
        }
        for name, atoms in named.items()
    ]


def by_rmax(repeats: int, lengths: tuple[float, ...], runs: int) -> list[Row]:
    atoms = crystal(repeats)
    found = in_turn(
        {str(rmax): partial(timed_pdf, structure=atoms, rmax=rmax) for rmax in lengths}, runs
    )
    return [
        {"atoms": len(atoms.frac), "rmax A": rmax, **median_and_range("ms/PDF", found[str(rmax)])}
        for rmax in lengths
    ]


def power_laws(tables: Tables) -> dict[str, float]:
    """Exponent of the time of each table."""
    columns = {CRYSTALS: "atoms", PARTICLES: "atoms", RMAX: "rmax A"}
    return {
        title: exponent([row[x] for row in tables[title]], [row["ms/PDF"] for row in tables[title]])
        for title, x in columns.items()
    }


def draw(tables: Tables) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    powers = power_laws(tables)
    _line(left, tables[CRYSTALS], "atoms", f"crystals, power {powers[CRYSTALS]:.2f}")
    _line(left, tables[PARTICLES], "atoms", f"particles, power {powers[PARTICLES]:.2f}")
    _line(right, tables[RMAX], "rmax A", f"power {powers[RMAX]:.2f}")
    left.set(title="Size, rmax 30 Å", xlabel="atoms")
    right.set(title=f"Length, {tables[RMAX][0]['atoms']} atoms", xlabel="rmax (Å)")
    return figure


def _line(axes: Axes, rows: list[Row], x: str, label: str) -> None:
    places = [row[x] for row in rows]
    low, high = zip(*(row["ms/PDF range"] for row in rows), strict=True)
    axes.loglog(places, [row["ms/PDF"] for row in rows], marker="o", ms=3, label=label)
    axes.fill_between(places, low, high, alpha=0.2)
    axes.set_ylabel("ms for each PDF")
    axes.legend()


def main() -> None:
    options = read_options(__doc__, runs=5)
    quick, runs = options.quick, options.runs
    repeats = (2, 3) if quick else (3, 5, 8, 13, 18, 23)
    sizes = (30, 60) if quick else (100, 500, 2000, 9000, 20000, 50000)
    lengths = (8.0, 10.0) if quick else (10.0, 20.0, 30.0, 40.0, 50.0, 60.0)
    tables = {
        CRYSTALS: by_atoms([crystal(n) for n in repeats], runs),
        PARTICLES: by_atoms([particle(n) for n in sizes], runs),
        RMAX: by_rmax(3 if quick else 8, lengths, runs),
    }
    notes = [f"{title}: time ~ power {power:.2f}" for title, power in power_laws(tables).items()]
    report("pairs", options, tables, notes, draw)


if __name__ == "__main__":
    main()
