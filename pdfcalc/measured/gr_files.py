"""Files of measured or computed PDFs in the forms that programs write them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.crystals.structure_files import uiso_in_words
from pdfcalc.files import write_atomically
from pdfcalc.measured.gr_headers import NUMBER, GrHeader, read_header
from pdfcalc.measured.other_functions import require_pdf
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.reading import read_file

_START = re.compile(r"#+ *start data", re.IGNORECASE)
_TWO_NUMBERS = re.compile(rf"\s*{NUMBER}[\s,;]+{NUMBER}")
_COMMENT = re.compile(r"\s*(#|$)")
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_LARGEST = 64 * 2**20
"""Bytes; a PDF of a million points takes less."""
_FEWEST = 10
"""Points; fewer are no curve, but what is left of one."""


@dataclass(frozen=True, eq=False)
class GrFile:
    """A PDF as a file holds it.

    Args:
        r: (n,) A, increasing.
        g: (n,) 1/A^2.
        dg: (n,) standard uncertainty of g; None where the file has none that is positive.
        header: what the file says of the measurement.
    """

    r: np.ndarray
    g: np.ndarray
    dg: np.ndarray | None
    header: GrHeader


def read_gr(path: str | os.PathLike[str]) -> GrFile:
    """Read a PDF of PDFgetX2, PDFgetX3, xPDFsuite, PDFgetN, GSAS-II, PDFgui, pdffit2 or SrFit.

    Or plain columns: r, G; r, G, dG; or r, G, dr, dG; further ones are left alone. Of a fit that
    PDFgui (r, G, dr, dG, Gdiff) or SrFit (x, ycalc, y, dy) saved, the measured curve is taken, not
    the calculated one.

    Raises:
        ValueError: the file cannot be read, a line of the data is malformed, there are too few, or
            they are another function than G(r).
    """
    lines = _text(Path(path)).splitlines()
    start = _first_row(lines)
    rows: list[list[float]] = []
    for number, line in enumerate(lines[start:], start=start + 1):
        if not _COMMENT.match(line):
            rows.append(_row(path, number, line, rows[-1] if rows else None))
    if not rows:
        raise ValueError(
            f"{path}, line {max(start, 1)}: no data: expected columns r and G(r), after "
            "'#### start data' if anything stands before them"
        )
    if len(rows) < _FEWEST:
        raise ValueError(
            f"{path}, line {len(lines)}: the data end after {len(rows)} points: a PDF has at least "
            f"{_FEWEST}; export it again"
        )
    header = lines[:start]
    # Columns that only some of the rows have are not of the curve.
    shared = min(map(len, rows)) if len(set(map(len, rows))) == 1 else 2
    columns = np.array([row[:shared] for row in rows]).T
    g, dg = _curve(columns, header[-1] if header else "")
    require_pdf(Path(path), header, columns[0], g)
    return GrFile(columns[0], g, dg, read_header("\n".join(header)))


def write_gr(
    path: str | os.PathLike[str],
    r: np.ndarray,
    g: np.ndarray,
    parameters: PDFParameters,
    structure: AtomicStructure | None = None,
) -> None:
    """Write r (A) and G (1/A^2) as two columns under a header of the parameters.

    Args:
        structure: of which G(r) was calculated; its displacements enter the header.
    """
    rows = [f"{x:.10g} {y:.8g}" for x, y in zip(r, g, strict=True)]
    _write(path, parameters, structure, "r($\\AA$)  G($\\AA^{-2}$)", rows)


def write_fit(
    path: str | os.PathLike[str],
    r: np.ndarray,
    g: np.ndarray,
    g_calculated: np.ndarray,
    parameters: PDFParameters,
    structure: AtomicStructure,
) -> None:
    """Write a refinement as PDFgui saves one: r, calculated G, zeros, and measured - calculated."""
    columns = zip(r, g_calculated, g - g_calculated, strict=True)
    rows = [f"{x:.10g} {y:.8g} 0 0 {difference:.8g}" for x, y, difference in columns]
    _write(path, parameters, structure, "r(A) G(r) d_r d_Gr Gdiff", rows)


def _write(
    path: str | os.PathLike[str],
    parameters: PDFParameters,
    structure: AtomicStructure | None,
    labels: str,
    rows: list[str],
) -> None:
    header = [
        "[DEFAULT]",
        f"mode = {parameters.scattering}",
        f"qmin = {parameters.qmin}",
        f"qmax = {parameters.qmax or 0}",
        f"qdamp = {parameters.qdamp}",
        f"qbroad = {parameters.qbroad}",
        *([f"uiso = {uiso_in_words(structure)}"] if structure else []),
        "",
        "#### start data",
        f"#L {labels}",
    ]
    text = "\n".join(header + rows) + "\n"
    write_atomically(Path(path), lambda beside: beside.write_text(text))


def _text(path: Path) -> str:
    """The file's text, whichever system wrote it.

    Raises:
        ValueError: there is no such file, or it is not text.
    """
    try:
        content = read_file(path, _LARGEST)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read: {error.strerror}: give the file that holds the PDF"
        ) from None
    if content.startswith(_BYTE_ORDER_MARKS):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: binary, not text: export the PDF as columns r and G(r)"
        )
    # What is not UTF-8 stands in titles only.
    return content.decode("utf-8-sig", errors="replace")


def _first_row(lines: list[str]) -> int:
    """Index of the first row: after the mark and its comments, or else the first two numbers."""
    start = next((n for n, line in enumerate(lines) if _START.match(line)), None)
    if start is None:
        return next((n for n, line in enumerate(lines) if _TWO_NUMBERS.match(line)), len(lines))
    rows = range(start, len(lines))
    return next((n for n in rows if not _COMMENT.match(lines[n])), len(lines))


def _row(
    path: str | os.PathLike[str], number: int, line: str, before: list[float] | None
) -> list[float]:
    try:
        row = [float(word) for word in line.split()]
    except ValueError:
        remedy = "correct it or put a # before it"
        if re.search(r"\d\s*[,;]", line):
            remedy = "separate columns by blanks, and write decimals with a point"
        raise ValueError(
            f"{path}, line {number}: {line.strip()[:40]!r} is not a row of numbers: {remedy}"
        ) from None
    if len(row) < 2:
        raise ValueError(f"{path}, line {number}: one column: expected r and G; correct the line")
    if not np.isfinite(row[:2]).all() or row[0] < 0 or (before and row[0] <= before[0]):
        raise ValueError(
            f"{path}, line {number}: r = {row[0]}, G = {row[1]}: r must not be negative and "
            "increase from line to line, and both must be finite; remove the line"
        )
    return row


def _curve(columns: np.ndarray, titles: str) -> tuple[np.ndarray, np.ndarray | None]:
    """G (n,) and its uncertainty (n,) of columns (2 or more, n), by their number and titles."""
    g, dg = columns[1], columns[len(columns) - 1] if len(columns) in (3, 4) else None
    if len(columns) == 4 and titles.split()[-4:] == ["x", "ycalc", "y", "dy"]:
        g = columns[2]
    elif len(columns) == 5 and titles.split()[-1:] == ["Gdiff"]:  # measured - calculated
        g, dg = columns[1] + columns[4], columns[3]
    known = dg is not None and np.isfinite(dg).all() and (dg > 0).all()
    return g, dg if known else None
