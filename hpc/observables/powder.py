"""X-ray powder patterns of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic import Field as Setting

from defectgen.samples import Coordinate, Field, LatticeView, Resources, Sample, UnusableItem
from pdfcalc.crystals.scattering import has_form_factor
from pdfcalc.powder.parameters import PowderParameters


class PowderPattern(BaseModel):
    """Wavelength, angles and line width of the stored patterns; names as in `PowderParameters`.

    Samples on the sites of one crystal have the patterns of their average structures, so that no
    line is between those of the unit cell. Where atoms have moved, the cell that repeated is no
    longer known; then each pattern of the item is that of its supercell with all that it scatters,
    also between these lines. All samples of an item are computed the same way, so that how they
    were computed tells nothing of what they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str] = "powder"
    revision: ClassVar[int] = 1
    title: ClassVar[str] = "X-ray powder patterns"

    wavelength: float = Setting(1.540593, description="A; Cu K-alpha1 unless given")
    two_theta: tuple[float, float] = Setting((20.0, 120.0), description="degrees, both stored")
    points: int = Setting(2001, description="stored angles, evenly spaced")
    fwhm: float = Setting(0.15, description="of each line, a Gaussian, degrees")

    @model_validator(mode="after")
    def _makes_sense(self) -> PowderPattern:
        _ = self.parameters
        return self

    @property
    def parameters(self) -> PowderParameters:
        """The calculation; raises ValueError where a setting is out of its range."""
        return PowderParameters(**self.model_dump())

    def fields(self) -> dict[str, Field]:
        attributes = {
            "long_name": "X-ray powder pattern",
            "units": "angstrom-6 degree-1",
            "comment": "|F|^2 in electrons^2 times the Lorentz-polarisation factor over the "
            "squared volume of the cell of F",
        }
        return {"intensity": Field("float32", math.nan, attributes, ("two_theta",))}

    def coordinates(self) -> dict[str, Coordinate]:
        angles = np.round(self.parameters.angles, 10)
        attributes = {"long_name": "scattering angle 2 theta", "units": "degree"}
        return {"two_theta": Coordinate(angles, attributes)}

    def lack(self, element: str) -> str | None:
        return None if has_form_factor(element) else "no X-ray form factor is tabulated"

    def compute(self, samples: Sequence[Sample], on: Resources) -> dict[str, np.ndarray]:
        views = [sample.lattice for sample in samples if sample.lattice is not None]
        if len(views) == len(samples):
            patterns = self._on_sites(views)
        else:
            patterns = np.stack([self._anywhere(sample) for sample in samples])
        return {"intensity": patterns.astype(np.float32)}

    def _on_sites(self, views: Sequence[LatticeView]) -> np.ndarray:
        from pdfcalc.powder.average import average_patterns

        changes = [view.change for view in views]
        return average_patterns(views[0].crystal, changes, self.parameters)

    def _anywhere(self, sample: Sample) -> np.ndarray:
        from pdfcalc.powder.pattern import calculate_powder_pattern

        atoms = sample.atoms()
        try:
            return calculate_powder_pattern(atoms, self.parameters)[1]
        except ValueError as error:
            raise UnusableItem(str(error)) from None


PLUG_IN = PowderPattern
