"""What is computed for each variant of a host.

An observable has a name, dimensions after (structure, variant), their coordinates, and a function
from the variants of a host to numbers. PDFs are the only one so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from hpc.description import PDFSettings
from pdfcalc.pdf.lattice import Change, LatticeCrystal


class Observable(Protocol):
    """Something computed for all variants of a host and stored as one float32 array."""

    name: ClassVar[str]
    attributes: ClassVar[dict[str, Any]]

    def coordinates(self) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
        """Values and attributes of each dimension after (structure, variant), in order."""
        ...

    def compute(self, crystal: LatticeCrystal, changes: Sequence[Change]) -> np.ndarray:
        """(V, ...) values for each variant."""
        ...


class PairDistributionFunction:
    """G(r) on the stored points of a run."""

    name: ClassVar[str] = "g"
    attributes: ClassVar[dict[str, Any]] = {
        "long_name": "pair distribution function G(r)",
        "units": "angstrom-2",
    }

    def __init__(self, settings: PDFSettings) -> None:
        self._parameters, self._stored = settings.parameters, settings.stored.tolist()

    def coordinates(self) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
        r = np.round(self._parameters.r[self._stored], 10)
        return {"r": (r, {"long_name": "interatomic distance", "units": "angstrom"})}

    def compute(self, crystal: LatticeCrystal, changes: Sequence[Change]) -> np.ndarray:
        return crystal.pdfs(changes, self._parameters, self._stored)
