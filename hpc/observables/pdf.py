"""Pair distribution functions: G(r) on the stored points of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic import Field as Setting

from defectgen.samples import Coordinate, Field, LatticeView, Resources, Sample, UnusableItem
from pdfcalc.crystals.scattering import lack_of
from pdfcalc.pdf.parameters import PDFParameters


class PDFSettings(BaseModel):
    """Grid and instrument of the stored PDFs; the names are those of `PDFParameters`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rmin: float = 1.5
    rmax: float = 30.0
    points: int = Setting(300, ge=2, description="stored points in [rmin, rmax)")
    rstep: float = Setting(0.01, description="A; the stored points are multiples of it")
    qmin: float = 0.6
    qmax: float = Setting(23.6, gt=0)
    qdamp: float = 0.0291601718936
    qbroad: float = 0.0103215402787
    scattering: Literal["xray", "neutron"] = "xray"

    @model_validator(mode="after")
    def _has_the_points(self) -> PDFSettings:
        available = len(self.parameters.r)
        if self.points > available:
            raise ValueError(f"points = {self.points}: the grid has only {available}")
        return self

    @property
    def parameters(self) -> PDFParameters:
        """The calculation; its grid is all multiples of rstep in [rmin, rmax)."""
        return PDFParameters(**self.model_dump(exclude={"points"}))

    @property
    def stored(self) -> np.ndarray:
        """(points,) indices of the stored points in `parameters.r`, as evenly spaced as can be."""
        return np.rint(np.linspace(0, len(self.parameters.r) - 1, self.points)).astype(int)


class PairDistributionFunction(PDFSettings):
    """G(r) of samples: by the lattice engine where they are on sites, else pair by pair."""

    name: ClassVar[str] = "pdf"
    revision: ClassVar[int] = 1
    title: ClassVar[str] = "Pair distribution functions"

    def fields(self) -> dict[str, Field]:
        attributes = {"long_name": "pair distribution function G(r)", "units": "angstrom-2"}
        return {"g": Field("float32", math.nan, attributes, ("r",))}

    def coordinates(self) -> dict[str, Coordinate]:
        r = np.round(self.parameters.r[self.stored], 10)
        return {"r": Coordinate(r, {"long_name": "interatomic distance", "units": "angstrom"})}

    def lack(self, element: str) -> str | None:
        return lack_of(element, self.scattering)

    def compute(self, samples: Sequence[Sample], on: Resources) -> dict[str, np.ndarray]:
        views = [sample.lattice for sample in samples if sample.lattice is not None]
        if len(views) == len(samples):
            return {"g": self._on_sites(views)}
        return {"g": np.stack([self._anywhere(sample) for sample in samples])}

    def _on_sites(self, views: Sequence[LatticeView]) -> np.ndarray:
        self._require_known({views[0].crystal.element})
        changes = [view.change for view in views]
        return views[0].crystal.pdfs(changes, self.parameters, self.stored.tolist())

    def _anywhere(self, sample: Sample) -> np.ndarray:
        from pdfcalc.pdf.calculate import calculate_pdf

        atoms = sample.atoms()
        self._require_known(set(atoms.elements.tolist()))
        _, g = calculate_pdf(atoms, self.parameters)
        return g[self.stored]

    def _require_known(self, elements: Iterable[str]) -> None:
        for element in sorted(elements):
            if why := self.lack(element):
                raise UnusableItem(f"{why} for {element}")


PLUG_IN = PairDistributionFunction
