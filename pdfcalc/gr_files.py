"""Files of measured or computed PDFs in the form that PDFgui and PDFgetX3 write and read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pdfcalc.parameters import PDFParameters

_START = re.compile(r"#+ *start data", re.IGNORECASE)
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_TWO_NUMBERS = re.compile(rf"\s*{_NUMBER}\s+{_NUMBER}")
_COMMENT = re.compile(r"\s*(#|$)")
_NAMES = {
    "qmin": "qmin",
    "qmax": "qmax",
    "qdamp": "qdamp|qsig",
    "qbroad": "qbroad|qalp",
    "temperature": "temperature|temp",
}
"""The names that programs give a value."""


@dataclass(frozen=True, eq=False)
class GrFile:
    """A PDF as a file holds it.

    Args:
        r: (n,) A, increasing.
        g: (n,) 1/A^2.
        dg: (n,) standard uncertainty of g; None where the file has none that is positive.
        header: what the header says of qmin, qmax, qdamp, qbroad (1/A), temperature (K) and
            stype ("X" or "N").
    """

    r: np.ndarray
    g: np.ndarray
    dg: np.ndarray | None
    header: dict[str, float | str]


def read_gr(path: str | os.PathLike[str]) -> GrFile:
    """Read a PDF of PDFgetX2, PDFgetX3, PDFgetN, xPDFsuite or PDFgui, or plain columns.

    Columns are r, g; r, g, dg; or r, g, dr, dg.

    Raises:
        ValueError: a line of the data cannot be read, or there are none.
        OSError: the file cannot be opened.
    """
    lines = Path(path).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    start = _first_row(lines)
    rows: list[list[float]] = []
    for number, line in enumerate(lines[start:], start=start + 1):
        if not _COMMENT.match(line):
            rows.append(_row(path, number, line, rows))
    if not rows:
        raise ValueError(
            f"{path}: no data: expected columns r and G(r), after '#### start data' if anything "
            "stands before them"
        )
    columns = np.array(rows).T
    dg = columns[-1] if len(columns) > 2 and (columns[-1] > 0).all() else None
    return GrFile(columns[0], columns[1], dg, _header("\n".join(lines[:start])))


def write_gr(
    path: str | os.PathLike[str], r: np.ndarray, g: np.ndarray, parameters: PDFParameters
) -> None:
    """Write r (A) and G (1/A^2) as two columns under a header of the parameters."""
    header = [
        "[DEFAULT]",
        f"mode = {parameters.scattering}",
        f"qmin = {parameters.qmin}",
        f"qmax = {parameters.qmax or 0}",
        f"qdamp = {parameters.qdamp}",
        f"qbroad = {parameters.qbroad}",
        "",
        "#### start data",
        "#L r($\\AA$)  G($\\AA^{-2}$)",
    ]
    rows = [f"{x:.10g} {y:.8g}" for x, y in zip(r, g, strict=True)]
    Path(path).write_text("\n".join(header + rows) + "\n")


def _first_row(lines: list[str]) -> int:
    """Index of the first row: after the mark and its comments, or else the first two numbers."""
    start = next((n for n, line in enumerate(lines) if _START.match(line)), None)
    if start is None:
        return next((n for n, line in enumerate(lines) if _TWO_NUMBERS.match(line)), len(lines))
    rows = range(start, len(lines))
    return next((n for n in rows if not _COMMENT.match(lines[n])), len(lines))


def _row(
    path: str | os.PathLike[str], number: int, line: str, before: list[list[float]]
) -> list[float]:
    try:
        row = [float(word) for word in line.split()]
    except ValueError:
        raise ValueError(
            f"{path}, line {number}: {line.strip()[:40]!r} is not a row of numbers: correct it or "
            "put a # before it"
        ) from None
    if len(row) not in (2, 3, 4) or (before and len(row) != len(before[0])):
        expected = f"{len(before[0])} as above" if before else "2 to 4"
        raise ValueError(f"{path}, line {number}: {len(row)} columns: expected {expected}")
    if not np.isfinite(row[:2]).all() or (before and row[0] <= before[-1][0]):
        raise ValueError(
            f"{path}, line {number}: r = {row[0]}, G = {row[1]}: r must increase from line to line "
            "and both be finite; remove the line"
        )
    return row


def _header(text: str) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for name, names in _NAMES.items():
        match = re.search(rf"\b(?:{names})\s*=\s*({_NUMBER})", text, re.IGNORECASE)
        if match:
            found[name] = float(match[1])
    said = re.search(r"\b(?:stype|mode)\s*=\s*(x|n)(?:-?ray|eutron)?\b", text, re.IGNORECASE)
    if said:
        found["stype"] = said[1].upper()
    # As PDFgui guesses it from titles and the names of programs.
    elif re.search(r"x-?ray|PDFgetX", text, re.IGNORECASE):
        found["stype"] = "X"
    elif re.search(r"neutron|PDFgetN", text, re.IGNORECASE):
        found["stype"] = "N"
    return found
