"""A host: one elemental crystal in its conventional cell, with where it comes from."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from defectgen.hosts.elements import ROOM_TEMPERATURE
from pdfcalc.crystals.periodic import nearest_neighbour
from pdfcalc.crystals.structure import AtomicStructure

SPACE_GROUPS = (225, 194, 229, 139, 141, 140)
CUBIC_GROUPS = (225, 229)


class Host(BaseModel):
    """An elemental metal in the standard conventional cell of one of `SPACE_GROUPS`.

    The cell is cubic (225, 229), hexagonal with gamma = 120 degrees (194) or tetragonal (139,
    140, 141), so that `a` and `c` define it. Group 141 is in origin choice 2.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: str = Field(min_length=1)
    element: str
    space_group: Literal[225, 194, 229, 139, 141, 140]
    a: float = Field(gt=0, description="cell length in A")
    c: float = Field(gt=0, description="cell length in A; equal to a in cubic cells")
    wyckoff: tuple[str, ...] = Field(description="occupied position of each atom, as in '4a'")
    frac: tuple[tuple[float, float, float], ...] = Field(description="(n_atoms, 3)")
    uiso: float = Field(gt=0, le=1, description="A^2")
    uiso_source: Literal["cif", "debye"]
    temperature: float | None = Field(
        None, gt=0, le=10_000, description="K; None where not reported"
    )
    pressure: float | None = Field(None, description="GPa; None where not reported")
    origin: Literal["published", "derived", "cif"]
    source: str = Field(description="citation, or the CIF file's name")

    @model_validator(mode="after")
    def _consistent(self) -> Host:
        if len(self.wyckoff) != len(self.frac) or not self.frac:
            raise ValueError("wyckoff and frac must have one entry for each atom")
        if self.is_cubic and self.a != self.c:
            raise ValueError("a cubic cell has a == c")
        return self

    @property
    def is_cubic(self) -> bool:
        return self.space_group in CUBIC_GROUPS

    @property
    def kelvin(self) -> float:
        """The temperature, K, or `ROOM_TEMPERATURE` where none is reported."""
        return self.temperature or ROOM_TEMPERATURE

    @property
    def atoms(self) -> AtomicStructure:
        """The atoms of the conventional cell."""
        n = len(self.frac)
        return AtomicStructure(self.lattice, self.frac, [self.element] * n, [self.uiso] * n)

    @property
    def nearest_neighbour(self) -> float:
        """Distance between nearest atoms, A."""
        return nearest_neighbour(self.lattice, np.array(self.frac))

    def changed(self, a: float, c: float, uiso: float) -> Host:
        """This host with other lengths, A, and displacements, A^2. In a cubic cell c is a."""
        c = a if self.is_cubic else c
        return self.model_copy(update={"a": float(a), "c": float(c), "uiso": float(uiso)})

    @property
    def lattice(self) -> np.ndarray:
        """(3, 3) cell vectors as rows, A."""
        if self.space_group == 194:
            half, height = 0.5 * self.a, 0.75**0.5 * self.a
            return np.array([[self.a, 0, 0], [-half, height, 0], [0, 0, self.c]])
        return np.diag([self.a, self.a, self.c])
