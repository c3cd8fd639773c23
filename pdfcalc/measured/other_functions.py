"""Curves that stand in files like those of G(r) and are other functions.

G(r) is 4 pi rho r [g(r) - 1] here, in 1/A^2. What else programs write is told apart by what they
say of it; D. A. Keen, J. Appl. Cryst. 34 (2001) 172, DOI 10.1107/S0021889800019993, compares them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

_ENDINGS = {".fq": "F(Q)", ".sq": "S(Q)", ".soq": "S(Q)", ".iq": "I(Q)", ".chi": "I(Q)"}
_OUTPUT = re.compile(r"^[#\s]*outputtype\s*=\s*(\w+)", re.IGNORECASE | re.MULTILINE)
_OUTPUTS = {"fq": "F(Q)", "sq": "S(Q)", "iq": "I(Q)"}
_IN_Q = re.compile(
    r"[#\s]*(?:L\s+)?(?:Q|2-?theta|tth)(?:[^\w\s]\S*)?\s+(?:[FSIH]|counts|intensity)(?:\W|$)",
    re.IGNORECASE,
)
_LABEL = re.compile(r"(?<![\w(])(g\(r\)|g_?\w*\(r\)|T\(r\)|N\(r\)|RDF(?:\(r\))?|R\(r\))(?!\w)")
_LONE_COUNT = re.compile(r"\s*\d+\s*")
_AT_ONE = (0.8, 1.2)
"""Where most of the far half of g(r) or S(Q) is, while that of G(r) is about 0."""


def require_pdf(path: Path, header: Sequence[str], r: np.ndarray, g: np.ndarray) -> None:
    """ValueError if what the file says of its curve, or the curve, is not of G(r).

    Args:
        header: the lines before the data.
        r, g: (n,) its first two columns.
    """
    if found := next(_objections(path, header, g), None):
        raise ValueError(
            f"{path}: {found}: export G(r) = 4 pi rho r [g(r) - 1], in 1/A^2, as columns r and G"
        )


def _objections(path: Path, header: Sequence[str], g: np.ndarray) -> Iterator[str]:
    output = _OUTPUT.search("\n".join(header))
    if output and output[1].lower() != "gr":
        kind = _OUTPUTS.get(output[1].lower(), "another function")
        yield f"holds {kind}, not G(r), by its outputtype = {output[1]}"
    titles = next((line for line in reversed(header) if line.strip("#\t ")), "")
    if _IN_Q.match(titles):
        yield f"its columns are {titles.strip('# ')[:60]!r}: a function of Q or angle, not G(r)"
    if label := _LABEL.search(titles):
        yield f"its columns are {titles.strip('# ')[:60]!r}: {label[1]} is not G(r)"
    if header and _LONE_COUNT.fullmatch(header[0]):
        yield (
            "the number of rows alone in line 1 is the mark of RMCProfile's files, whose G(r) is "
            "D(r) / (4 pi rho r)"
        )
    if kind := _ENDINGS.get(path.suffix.lower(), ""):
        yield f"a file that ends in {path.suffix} holds {kind}, not G(r)"
    low, high = _AT_ONE
    if low < np.median(g[len(g) // 2 :]) < high and g.min() > -0.5:
        yield "its curve goes to 1, as g(r) and S(Q) do and G(r) does not"
