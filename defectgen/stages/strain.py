"""Strained cells, as temperature, pressure, stress or a wrong wavelength makes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic import Field as Setting

from defectgen.samples import Coordinate, Field, Resources, Sample
from pdfcalc.crystals.structure import AtomicStructure

COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")
MOST = 0.2
"""Beyond it a strain is not small: nothing here would hold."""


def _rising(found: tuple[float, float]) -> tuple[float, float]:
    low, high = found
    if not -MOST <= low <= high <= MOST:
        raise ValueError(f"{low:g} to {high:g}: give the lower end first, both within +-{MOST:g}")
    return found


Range = Annotated[tuple[float, float], AfterValidator(_rising)]


class Strain(BaseModel):
    """A small homogeneous strain e of each sample's own: atoms at x come to (1 + e) x.

    Axes are Cartesian, x along a and z along the plane of a and b's normal in hosts' standard cells
    (J. F. Nye, Physical Properties of Crystals, 1957, ch. VI). Variant 0 is strained as all others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str] = "strain"
    revision: ClassVar[int] = 1
    exact: ClassVar[bool] = True

    hydrostatic: Range = Setting((0.0, 0.0), description="drawn once, of all lengths alike")
    axial: Range = Setting((0.0, 0.0), description="drawn for each axis: e_xx, e_yy, e_zz")
    shear: Range = Setting((0.0, 0.0), description="drawn for each plane: e_yz, e_xz, e_xy")

    def fields(self) -> dict[str, Field]:
        attributes = {
            "long_name": "strain tensor, half the change of angle for shears",
            "units": "1",
        }
        return {"strain": Field("float64", math.nan, attributes, ("voigt",))}

    def coordinates(self) -> dict[str, Coordinate]:
        names = np.array(COMPONENTS, np.dtypes.StringDType())
        return {"voigt": Coordinate(names, {"long_name": "component of a symmetric tensor"})}

    def apply(self, samples: Sequence[Sample], on: Resources) -> list[Sample]:
        return [self._strained(sample) for sample in samples]

    def _strained(self, sample: Sample) -> Sample:
        rng = sample.random(self.name)
        hydrostatic = rng.uniform(*self.hydrostatic)
        components = [*(hydrostatic + rng.uniform(*self.axial, 3)), *rng.uniform(*self.shear, 3)]
        xx, yy, zz, yz, xz, xy = components
        strain = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        return replace(
            sample,
            atoms=partial(_atoms, sample.atoms, np.eye(3) + strain),
            lattice=None,
            values={**sample.values, "strain": np.array(components)},
        )


def _atoms(before: Callable[[], AtomicStructure], deformation: np.ndarray) -> AtomicStructure:
    atoms = before()
    return AtomicStructure(
        atoms.lattice @ deformation,
        atoms.frac,
        atoms.elements,
        atoms.uiso,
        atoms.occupancy,
        atoms.periodic,
    )


PLUG_IN = Strain
