"""Any crystal refined against measured PDFs, without a question about defects."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from defectgen.hosts.cif import printable
from pdfcalc.measured.gr_files import GrFile, read_gr, write_fit
from pdfcalc.measured.refinement import Refinement, measured_parameters, refine_host
from pdfcalc.pdf.parameters import PDFParameters
from train.measured.notes import notes_on_refinement
from train.measured.structure import Structure
from train.report.figures import COLOURS, INK, report_style, to_svg
from train.runs.rundir import write_text

SUMMARY = "summary.csv"
_RANGE = {"rmin": 1.5, "rmax": 30.0}


@dataclass(frozen=True, eq=False)
class Refined:
    """A measured PDF and the crystal that was refined against it."""

    file: Path
    structure: Path
    refinement: Refinement
    notes: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """For JSON, without the curves."""
        return {
            "file": str(self.file),
            "structure": str(self.structure),
            **self.refinement.record(),
            "notes": list(self.notes),
        }

    def line(self) -> str:
        """What was found, for people."""
        found = self.refinement
        values = ", ".join(_with_uncertainty(found, name) for name in found.values)
        return (
            f"{printable(self.file)}: Rw {found.rw:.3f} over {found.r[0]:g} to {found.r[-1]:g} A; "
            f"{values}"
        )


def refine_files(
    structure: Path, files: Sequence[Path], given: dict[str, Any], fixed: Collection[str]
) -> Iterator[Refined | ValueError]:
    """Of each file what was found, or why nothing was.

    Args:
        given: as of `measured_parameters`.
        fixed: as of `refine_host`.

    Raises:
        ValueError: the structure is unusable.
    """
    crystal = Structure.read(structure)
    for file in files:
        try:
            yield refined(crystal, file, given, fixed)
        except ValueError as error:
            yield error


def refined(
    crystal: Structure, file: Path, given: dict[str, Any], fixed: Collection[str]
) -> Refined:
    """As `refine_files`, of one file; ValueError if it is unusable."""
    measured = read_gr(file)
    try:
        start, doubts = start_of(measured, crystal, _RANGE | given)
        found = refine_host(crystal.atoms, measured.r, measured.g, start, fixed)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    notes = (*crystal.told, *doubts, *notes_on_refinement(found, crystal))
    return Refined(file, crystal.path, found, notes)


def start_of(
    measured: GrFile, crystal: Structure, given: dict[str, Any]
) -> tuple[PDFParameters, list[str]]:
    """Where a refinement starts, as `measured_parameters`, and what that warns of."""
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always")
        start = measured_parameters(measured, crystal.atoms, **given)
    return start, [str(doubt.message) for doubt in doubts]


def _with_uncertainty(found: Refinement, name: str) -> str:
    if name not in found.uncertainties:
        return f"{name} {found.values[name]:.4g} (fixed)"
    return f"{name} {found.values[name]:.5g} +- {found.uncertainties[name]:.1g}"


def write_refined(every: Sequence[Refined], folder: Path) -> Iterator[Path]:
    """Write a .fgr and a figure of each file, and a table of all; their paths."""
    for one in every:
        found, stem = one.refinement, folder / one.file.stem
        fit = stem.with_name(f"{stem.name}.fgr")
        write_fit(fit, found.r, found.g, found.g_calculated, found.parameters, found.structure)
        yield fit
        picture = stem.with_name(f"{stem.name}.svg")
        with report_style():
            write_text(picture, to_svg(refinement_figure(one.file, one.refinement)))
        yield picture
    write_text(folder / SUMMARY, _table(every))
    yield folder / SUMMARY


def _table(every: Sequence[Refined]) -> str:
    names = list(dict.fromkeys(name for one in every for name in one.refinement.values))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "rw", *(f"{name}{kind}" for name in names for kind in ("", "_sd"))])
    for one in every:
        found = one.refinement
        pairs = [(found.values.get(n, ""), found.uncertainties.get(n, "")) for n in names]
        table.writerow([one.file, found.rw, *(value for pair in pairs for value in pair)])
    return text.getvalue()


def refinement_figure(file: Path, found: Refinement) -> Figure:
    """Data, fit, and below them the difference."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.r, found.g, ".", ms=2.5, color=INK, label="measured")
    axes.plot(found.r, found.g_calculated, lw=0.9, label="refined")
    difference = found.g - found.g_calculated
    offset = found.g.min() - 1.2 * max(difference.max(), 0.1 * found.g.std())
    axes.axhline(offset, lw=0.5, color=INK)
    axes.plot(found.r, difference + offset, lw=0.9, color=COLOURS[2], label="difference, offset")
    name = printable(Path(file.name)).replace("$", r"\$")
    axes.set(xlabel="r (Å)", ylabel="G (Å$^{-2}$)", title=f"{name}: Rw {found.rw:.3f}")
    axes.legend(fontsize="small", ncols=3)
    return figure
