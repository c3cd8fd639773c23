"""What the headers of PDF files say of the measurement."""

from __future__ import annotations

import re
from dataclasses import dataclass

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_NAMES = {
    "qmin": "qmin",
    "qmax": "qmax",
    "qdamp": "qdamp|qsig",
    "qbroad": "qbroad|qalp",
    "temperature": "temperature|temp",
    "wavelength": "wavelength|lambda",
}
"""The names that programs give a value."""
_POSITIVE = ("qmax", "temperature", "wavelength")
"""Programs write 0 where they know none."""
_STYPE = re.compile(r"\b(?:stype|mode)\s*=\s*(x|n)(?:-?ray|eutron)?\b", re.IGNORECASE)
_FORMULA = re.compile(r"^[#\s]*composition\s*=\s*(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_PART = re.compile(rf"([A-Z][a-z]?)\s*({NUMBER})?\s*")
_ATOM = rf"[A-Z][a-z]?\s+{NUMBER}"
# Tables of the sample's elements, and in their rows an element and its amount: PDFgetX2's has the
# valence in between, PDFgetN's stands behind #.
_TABLES = (
    (
        re.compile(rf"^#L symbol valence fractions.*\n((?:\s*{_ATOM}\s+{NUMBER}.*\n)+)", re.M),
        re.compile(rf"^\s*([A-Z][a-z]?)\s+{NUMBER}\s+({NUMBER})", re.M),
    ),
    (
        re.compile(rf"^# Element relAtomNum.*\n((?:#\s*{_ATOM}.*\n)+)", re.M),
        re.compile(rf"^#\s*([A-Z][a-z]?)\s+({NUMBER})", re.M),
    ),
)


@dataclass(frozen=True)
class GrHeader:
    """What a file states of its PDF; None where it is silent.

    Args:
        qmin, qmax: range in Q that was transformed to G(r), 1/A.
        qdamp, qbroad: resolution of the instrument, 1/A.
        scattering: "xray" or "neutron".
        temperature: K.
        wavelength: A.
        composition: relative number of atoms by element.
    """

    qmin: float | None = None
    qmax: float | None = None
    qdamp: float | None = None
    qbroad: float | None = None
    scattering: str | None = None
    temperature: float | None = None
    wavelength: float | None = None
    composition: dict[str, float] | None = None


def read_header(text: str) -> GrHeader:
    """What the lines before the data say, in the words of any program. Never fails."""
    return GrHeader(
        **{name: _value(text, name) for name in _NAMES},
        scattering=_scattering(text),
        composition=_composition(text),
    )


def _value(text: str, name: str) -> float | None:
    match = re.search(rf"\b(?:{_NAMES[name]})\s*=\s*({NUMBER})", text, re.IGNORECASE)
    value = float(match[1]) if match else None
    return None if value is not None and value <= 0 and name in _POSITIVE else value


def _scattering(text: str) -> str | None:
    said = _STYPE.search(text)
    if said:
        return "xray" if said[1].upper() == "X" else "neutron"
    # As PDFgui guesses it from titles and the names of programs.
    if re.search(r"x-?ray|PDFgetX", text, re.IGNORECASE):
        return "xray"
    return "neutron" if re.search(r"neutron|PDFgetN", text, re.IGNORECASE) else None


def _composition(text: str) -> dict[str, float] | None:
    formula = _FORMULA.search(text)
    parts: list[tuple[str, str]] = []
    if formula and re.fullmatch(f"(?:{_PART.pattern})+", formula[1]):
        parts = _PART.findall(formula[1])
    for table, row in _TABLES:
        found = None if parts else table.search(text)
        if found:
            parts = row.findall(found[1])
    amounts: dict[str, float] = {}
    for element, amount in parts:
        amounts[element] = amounts.get(element, 0.0) + float(amount or 1)
    return amounts or None
