"""Pair distribution functions: G(r) on the stored points of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic import Field as Setting

from defectgen.samples import Coordinate, Field, LatticeView, Resources, Sample, UnusableItem
from pdfcalc.crystals.scattering import has_form_factor, lack_of
from pdfcalc.pdf.parameters import PDFParameters

_OF_REFINED = {
    "g_host": Field(
        "float32",
        math.nan,
        {
            "long_name": "G(r) of the perfect crystal, refined against the sample",
            "units": "angstrom-2",
        },
        ("r",),
    ),
    "refined_cell": Field(
        "float64", math.nan, {"long_name": "its cell", "units": "angstrom"}, ("axis",)
    ),
    "refined_uiso": Field("float64", math.nan, {"long_name": "its Uiso", "units": "angstrom2"}),
    "rw": Field(
        "float32", math.nan, {"long_name": "weighted residual that it leaves", "units": "1"}
    ),
}
_OF_INSTRUMENTS = {
    name: Field("float64", math.nan, {"long_name": f"{name} of the sample", "units": "angstrom-1"})
    for name in ("qmax", "qdamp", "qbroad")
}

Range = tuple[float, float]


class Instruments(BaseModel):
    """Ranges that each host's own instrument is drawn from, uniformly; 1/A."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    qmax: Range | None = None
    qdamp: Range | None = None
    qbroad: Range | None = None

    @property
    def ranges(self) -> dict[str, Range]:
        """Of what differs, by name."""
        return {name: range_ for name, range_ in self if range_ is not None}


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
    form_factors: Literal["constant", "q_dependent"] = Setting(
        "constant", description="X-ray ones: those at Q = 0, or as they fall with Q"
    )
    refine_host: bool = Setting(
        False,
        description="store the perfect crystal as well, its cell and Uiso refined against each "
        "sample",
    )
    instruments: Instruments = Setting(
        Instruments(), description="ranges in place of one qmax, qdamp and qbroad for all hosts"
    )

    @model_validator(mode="after")
    def _has_the_points(self) -> PDFSettings:
        available = len(self.parameters.r)
        if self.points > available:
            raise ValueError(f"points = {self.points}: the grid has only {available}")
        return self

    @model_validator(mode="after")
    def _can_be_measured_on(self) -> PDFSettings:
        for name, (low, high) in self.instruments.ranges.items():
            if low > high:
                raise ValueError(f"instruments.{name} = [{low:g}, {high:g}]: give the lower first")
            for end in (low, high):
                changed: dict[str, Any] = {name: end}
                replace(self.parameters, **changed)
        return self

    @property
    def parameters(self) -> PDFParameters:
        """The calculation; its grid is all multiples of rstep in [rmin, rmax)."""
        own = {"points", "refine_host", "instruments"}
        return PDFParameters(**self.model_dump(exclude=own))

    @model_serializer(mode="wrap")
    def _without_what_is_newer(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = dump(self)
        # Stores without them are described, and known again, as before there were any.
        for name in ("refine_host", "form_factors", "instruments"):
            if name in values and getattr(self, name) == type(self).model_fields[name].default:
                del values[name]
        return values

    @property
    def stored(self) -> np.ndarray:
        """(points,) indices of the stored points in `parameters.r`, as evenly spaced as can be."""
        return np.rint(np.linspace(0, len(self.parameters.r) - 1, self.points)).astype(int)


class PairDistributionFunction(PDFSettings):
    """G(r) of samples: by the lattice engine where they are on sites, else pair by pair.

    With form factors that depend on Q by the engine that suits each sample.
    """

    name: ClassVar[str] = "pdf"
    revision: ClassVar[int] = 1
    title: ClassVar[str] = "Pair distribution functions"

    def fields(self) -> dict[str, Field]:
        attributes = {"long_name": "pair distribution function G(r)", "units": "angstrom-2"}
        fields = {"g": Field("float32", math.nan, attributes, ("r",))}
        fields |= {name: _OF_INSTRUMENTS[name] for name in self.instruments.ranges}
        return fields | (_OF_REFINED if self.refine_host else {})

    def coordinates(self) -> dict[str, Coordinate]:
        r = np.round(self.parameters.r[self.stored], 10)
        of_r = Coordinate(r, {"long_name": "interatomic distance", "units": "angstrom"})
        if not self.refine_host:
            return {"r": of_r}
        axes = np.array(list("abc"), np.dtypes.StringDType())
        return {"r": of_r, "axis": Coordinate(axes, {"long_name": "edge of the cell"})}

    def lack(self, element: str) -> str | None:
        if self.form_factors == "q_dependent" and not has_form_factor(element):
            return "no X-ray form factor is tabulated"
        return lack_of(element, self.scattering)

    def compute(self, samples: Sequence[Sample], on: Resources) -> dict[str, np.ndarray]:
        parameters = self._parameters_of(samples[0])
        views = [sample.lattice for sample in samples if sample.lattice is not None]
        if len(views) == len(samples) and self.form_factors == "constant":
            g = self._on_sites(views, parameters)
        else:
            g = np.stack([self._anywhere(sample, parameters) for sample in samples])
        found = {"g": g}
        for name in self.instruments.ranges:
            found[name] = np.full(len(samples), getattr(parameters, name))
        if self.refine_host:
            found |= self._refined(samples, g, parameters)
        return found

    def _parameters_of(self, sample: Sample) -> PDFParameters:
        """The instrument that all samples of an item are measured on."""
        seed, item, _ = sample.key
        rng = replace(sample, key=(seed, item, 0)).random("instrument")
        ranges = self.instruments.ranges
        drawn: dict[str, Any] = {name: rng.uniform(*range_) for name, range_ in ranges.items()}
        return replace(self.parameters, **drawn)

    def _on_sites(self, views: Sequence[LatticeView], parameters: PDFParameters) -> np.ndarray:
        self._require_known({views[0].crystal.element})
        changes = [view.change for view in views]
        return views[0].crystal.pdfs(changes, parameters, self.stored.tolist())

    def _anywhere(self, sample: Sample, parameters: PDFParameters) -> np.ndarray:
        from pdfcalc.pdf.calculate import calculate_pdf

        atoms = sample.atoms()
        self._require_known(set(atoms.elements.tolist()))
        _, g = calculate_pdf(atoms, parameters)
        return g[self.stored]

    def _refined(
        self, samples: Sequence[Sample], g: np.ndarray, parameters: PDFParameters
    ) -> dict[str, np.ndarray]:
        """What the fields of a refined host have of samples with G(r) (V, R)."""
        from pdfcalc.pdf.cell_fit import RefinableCrystal

        crystal = samples[0].crystal
        if crystal is None:
            raise UnusableItem("refine_host: its source names no perfect crystal to be refined")
        try:
            refinable = RefinableCrystal(crystal, parameters, self.stored.tolist())
        except ValueError as error:
            raise UnusableItem(f"refine_host: {error}") from None
        edges = np.linalg.norm(crystal.lattice, axis=1)
        found: dict[str, list[Any]] = {name: [] for name in _OF_REFINED}
        for sample, own in zip(samples, g.astype(float), strict=True):
            supercell = sample.lattice.crystal.sites if sample.lattice else sample.atoms()
            try:
                fit = refinable.fit(own, refinable.lengths_in(supercell.lattice))
            except ValueError as error:
                raise UnusableItem(f"variant {sample.key[2]}: {error}") from None
            cell = edges.copy()
            for axes, factor in zip(refinable.axes.values(), fit.lengths, strict=True):
                cell[axes] *= factor
            found["g_host"].append(fit.g)
            found["refined_cell"].append(cell)
            found["refined_uiso"].append(fit.uiso * crystal.uiso.mean())
            left = np.square(own - fit.g).sum() / np.square(own).sum()
            found["rw"].append(math.sqrt(left))
        return {name: np.array(values) for name, values in found.items()}

    def _require_known(self, elements: Iterable[str]) -> None:
        for element in sorted(elements):
            if why := self.lack(element):
                raise UnusableItem(f"{why} for {element}")


PLUG_IN = PairDistributionFunction
