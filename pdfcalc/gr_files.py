"""Files of measured or computed PDFs in the form that PDFgui reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pdfcalc.parameters import PDFParameters


def write_gr(path: Path, r: np.ndarray, g: np.ndarray, parameters: PDFParameters) -> None:
    """Write r (A) and G (1/A^2) as two columns under a header of the parameters."""
    header = [
        "[DEFAULT]",
        f"stype = {'X' if parameters.scattering == 'xray' else 'N'}",
        f"qmin = {parameters.qmin}",
        f"qmax = {parameters.qmax or 0}",
        f"qdamp = {parameters.qdamp}",
        f"qbroad = {parameters.qbroad}",
        "#### start data",
        "#L r($\\AA$)  G($\\AA^{-2}$)",
    ]
    rows = [f"{x:.6g} {y:.8g}" for x, y in zip(r, g, strict=True)]
    path.write_text("\n".join(header + rows) + "\n")
