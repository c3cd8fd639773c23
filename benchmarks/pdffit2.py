"""G(r) of moved atoms, and a refinement of a measured nickel, beside diffpy.pdffit2.

    python -m benchmarks.pdffit2 [--measured nickel.gr]

Inside the clock of G(r): what each program does from atoms that it has taken in to the curve, which
for diffpy.pdffit2 is `calc`. Curves are compared without a lowest Q, which diffpy.pdffit2 has not.
Of the refinement: `refine_host`, and `refine` of diffpy.pdffit2, which read the data before. Both
start from the same face-centred cell and refine scale, a, Uiso, delta2 and qdamp on 1.5 to 20 A;
diffpy.pdffit2 fits every point of the file, `refine_host` those that say something of their own.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.common import Row, Tables, in_turn, median_and_range, option_parser, report
from benchmarks.pairs import CUBE, UISO, crystal, parameters
from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf, read_gr, refine_host
from pdfcalc.measured.gr_files import GrFile
from pdfcalc.measured.refinement import measured_parameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES, FITS = "G(r) of displaced copper atoms", "refinements of nickel"
_A, _UISO, _DELTA2, _QDAMP = 3.52, 0.005, 2.0, 0.03
"""Where both refinements start: A, A^2, A^2, 1/A."""
_FREE = ("scale", "a", "uiso_Ni", "delta2", "qdamp")


class Timed(NamedTuple):
    """Seconds of a run, and what it found."""

    seconds: float
    found: Any


def curves(repeats: int, runs: int) -> list[Row]:
    """Both programs' G(r) of a supercell of copper."""
    atoms = crystal(repeats)
    wanted = PDFParameters(**{**vars(parameters()), "qmin": 0.0})
    found = in_turn(
        {
            "defectpdf": lambda run: _timed(lambda: calculate_pdf(atoms, wanted, "pairs")[1]),
            "diffpy.pdffit2": lambda run: _by_pdffit2(atoms, wanted),
        },
        runs,
    )
    g = found["defectpdf"][0].found
    return [
        {
            "program": name,
            "atoms": len(atoms.frac),
            **median_and_range("ms", [1e3 * one.seconds for one in every]),
            "deviation": float(np.linalg.norm(every[0].found - g) / np.linalg.norm(g)),
            **median_and_range("ratio", _ratios(every, found["defectpdf"])),
        }
        for name, every in found.items()
    ]


def _ratios(every: list[Timed], ours: list[Timed]) -> list[float]:
    return [one.seconds / own.seconds for one, own in zip(every, ours, strict=True)]


def _timed(function: Callable[[], Any]) -> Timed:
    started = perf_counter()
    found = function()
    return Timed(perf_counter() - started, found)


def _by_pdffit2(atoms: AtomicStructure, wanted: PDFParameters) -> Timed:
    fit = _pdffit2(atoms)
    r = wanted.r
    fit.alloc("X", wanted.qmax, wanted.qdamp, float(r[0]), float(r[-1]), len(r))
    fit.setvar("qbroad", wanted.qbroad)
    timed = _timed(fit.calc)
    return Timed(timed.seconds, np.array(fit.getpdf_fit()))


def _pdffit2(atoms: AtomicStructure) -> Any:
    """diffpy.pdffit2 with these atoms, silent."""
    from diffpy.pdffit2 import PdfFit, redirect_stdout
    from diffpy.structure import Atom, Lattice, Structure

    redirect_stdout(Path("/dev/null").open("w"))  # noqa: SIM115  # it keeps the file
    cell = Structure(lattice=Lattice(base=atoms.lattice))
    for label, xyz, uiso in zip(atoms.elements, atoms.frac, atoms.uiso, strict=True):
        cell.append(Atom(str(label), xyz=xyz, U=uiso * np.eye(3)))
    fit = PdfFit()
    fit.add_structure(cell)
    return fit


def fits(path: Path, runs: int) -> list[Row]:
    """Both programs' refinement of a measured PDF of nickel."""
    measured = read_gr(path)
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    nickel = AtomicStructure(_A * np.eye(3), corners, ["Ni"] * 4, [_UISO] * 4)
    start = measured_parameters(
        measured, nickel, rmax=20.0, delta2=_DELTA2, qdamp=_QDAMP, qbroad=0.0
    )

    def ours(_: int) -> Timed:
        return _timed(
            lambda: _ours(refine_host(nickel, measured.r, measured.g, start, fixed=["qbroad"]))
        )

    contestants: dict[str, Callable[[int], Timed]] = {
        "defectpdf": ours,
        "diffpy.pdffit2": partial(_refined, nickel, measured, start),
    }
    found = in_turn(contestants, runs)
    return [
        {"program": name}
        | median_and_range("ms", [1e3 * one.seconds for one in every])
        | median_and_range("ratio", _ratios(every, found["defectpdf"]))
        | every[0].found
        for name, every in found.items()
    ]


def _ours(found: Any) -> Row:
    values = {name.removesuffix("_Ni"): found.values[name] for name in _FREE}
    return {name: round(value, 5) for name, value in (values | {"rw": found.rw}).items()}


def _refined(nickel: AtomicStructure, measured: GrFile, start: PDFParameters, _: int) -> Timed:
    fit = _pdffit2(nickel)
    radiation = "N" if start.scattering == "neutron" else "X"
    points = measured.r.tolist(), measured.g.tolist()
    fit.read_data_lists(radiation, start.qmax, start.qdamp, *points)
    fit.pdfrange(1, start.rmin, start.rmax)
    for axis in (1, 2, 3):
        fit.constrain(fit.lat(axis), "@1")
    for atom in range(1, 5):
        for u in (fit.u11, fit.u22, fit.u33):
            fit.constrain(u(atom), "@2")
    for number, variable in ((3, fit.pscale), (4, fit.delta2), (5, fit.qdamp)):
        fit.constrain(variable, f"@{number}")
    for number, value in enumerate((_A, _UISO, 1.0, _DELTA2, _QDAMP), start=1):
        fit.setpar(number, value)
    timed = _timed(lambda: fit.refine(toler=1e-6))
    names = {"scale": 3, "a": 1, "uiso": 2, "delta2": 4, "qdamp": 5}
    row = {name: round(fit.getpar(number), 5) for name, number in names.items()}
    return Timed(timed.seconds, row | {"rw": round(fit.getrw(), 5)})


def draw(tables: Tables) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 1 + 1.2 * len(tables)), layout="constrained")
    for axes, (title, rows) in zip(
        figure.subplots(len(tables), squeeze=False)[:, 0], tables.items(), strict=True
    ):
        axes.barh([row["program"] for row in rows], [row["ms"] for row in rows])
        axes.set(title=title, xscale="log", xlabel="ms")
    return figure


def _options() -> Namespace:
    parser = option_parser(__doc__, runs=3)
    parser.add_argument("--measured", type=Path, help="a measured PDF of nickel, .gr")
    options = parser.parse_args()
    if find_spec("diffpy") is None or find_spec("diffpy.pdffit2") is None:
        parser.exit(2, "error: diffpy.pdffit2 is not installed: see benchmarks/README.md\n")
    return options


def main() -> None:
    options = _options()
    tables = {CURVES: curves(2 if options.quick else 5, options.runs)}
    if options.measured:
        tables[FITS] = fits(options.measured, options.runs)
    note = f"{CUBE:g} A cells, displaced by {UISO**0.5:.3f} A along each axis"
    report("pdffit2", options, tables, [note], draw)


if __name__ == "__main__":
    main()
