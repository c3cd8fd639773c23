"""A toy source, stage and observable: atoms in boxes, shaken, and seen from above."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from defectgen.samples import ATOM, Coordinate, Field, Resources, Sample, UnusableItem
from pdfcalc import AtomicStructure

SETTINGS = ConfigDict(frozen=True, extra="forbid")


class Box(BaseModel):
    """A recipe of a box of gold atoms: how many of them, at random, by its id."""

    model_config = SETTINGS
    id: str
    side: float
    most_atoms: int


def generator(*key: Any) -> np.random.Generator:
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, "<u4"))


class ToySource(BaseModel):
    """Boxes with a random number of atoms in each variant but the first, which has one."""

    model_config = SETTINGS
    name: ClassVar[str] = "toy"
    revision: ClassVar[int] = 1
    item: ClassVar[type[BaseModel]] = Box
    title: ClassVar[str] = "boxes of gold"
    locating: ClassVar[frozenset[str]] = frozenset()

    count: int = 11
    variants: int = 4
    most_atoms: int = 6
    unusable: str = ""

    @property
    def n_variants(self) -> int:
        return self.variants

    def fields(self) -> dict[str, Field]:
        return {
            "id": Field("str", None, {"long_name": "box"}, per_variant=False),
            "side": Field("float64", None, {"units": "angstrom"}, per_variant=False),
            "count": Field("int32", -1, {"long_name": "atoms"}),
        }

    def coordinates(self) -> dict[str, Coordinate]:
        return {}

    def located(self, folder: Path | None, limit: int | None) -> ToySource:
        return self if limit is None else self.model_copy(update={"count": limit})

    def suited(self, lack: Callable[[str], str | None]) -> ToySource:
        return self

    def digest(self) -> str:
        return self.model_dump_json()

    def items(self) -> Sequence[Box]:
        return [
            Box(id=f"box-{k}", side=4.0 + k % 5, most_atoms=self.most_atoms)
            for k in range(self.count)
        ]

    def size(self, item: Box) -> float:
        return item.most_atoms

    def draw(self, item: Box, seed: int) -> list[Sample]:
        if item.id == self.unusable:
            raise UnusableItem("a box without a bottom")
        keys = [(seed, item.id, variant) for variant in range(self.variants)]
        counts = [1, *(int(generator(*k).integers(1, item.most_atoms + 1)) for k in keys[1:])]
        return [
            Sample(key, partial(_atoms, item, key, n), values={"count": n})
            for key, n in zip(keys, counts, strict=True)
        ]


def _atoms(item: Box, key: tuple[int, str, int], count: int) -> AtomicStructure:
    places = generator("places", *key).uniform(0.2, 0.8, (count, 3))
    return AtomicStructure(item.side * np.eye(3), places, ["Au"] * count, [0.01] * count)


class ToyStage(BaseModel):
    """Moves every atom a little."""

    model_config = SETTINGS
    name: ClassVar[str] = "toy"
    revision: ClassVar[int] = 1
    exact: ClassVar[bool] = True

    most: float = 0.1

    def fields(self) -> dict[str, Field]:
        attributes = {"long_name": "largest displacement", "units": "angstrom"}
        return {"moved": Field("float64", math.nan, attributes)}

    def coordinates(self) -> dict[str, Coordinate]:
        return {}

    def apply(self, samples: Sequence[Sample], on: Resources) -> list[Sample]:
        return [self._shaken(sample) for sample in samples]

    def _shaken(self, sample: Sample) -> Sample:
        atoms = sample.atoms()
        step = generator("shake", *sample.key).uniform(-self.most, self.most, atoms.frac.shape)
        frac = atoms.frac + step / atoms.lattice[0, 0]
        moved = AtomicStructure(atoms.lattice, frac, atoms.elements, atoms.uiso)
        values = {**sample.values, "moved": np.linalg.norm(step, axis=1).max()}
        return replace(sample, atoms=lambda: moved, values=values)


class ToyImage(BaseModel):
    """The atoms as spots on an image, their positions, and the size of the box."""

    model_config = SETTINGS
    name: ClassVar[str] = "toy"
    revision: ClassVar[int] = 1
    title: ClassVar[str] = "Images"

    pixels: int = 8

    def fields(self) -> dict[str, Field]:
        place = {"long_name": "position", "units": "angstrom"}
        return {
            "image": Field("float32", math.nan, {"long_name": "brightness"}, ("y", "x")),
            "positions": Field("float64", math.nan, place, (ATOM, "xyz")),
            "numbers": Field("uint8", 0, {"long_name": "atomic number"}, (ATOM,)),
            "volume": Field("float64", math.nan, {"units": "angstrom3"}, per_variant=False),
        }

    def coordinates(self) -> dict[str, Coordinate]:
        pixels = Coordinate(np.arange(self.pixels, dtype="int32"), {"long_name": "pixel"})
        axes = np.array(["x", "y", "z"], np.dtypes.StringDType())
        return {"y": pixels, "x": pixels, "xyz": Coordinate(axes, {"long_name": "axis"})}

    def lack(self, element: str) -> str | None:
        return None

    def compute(self, samples: Sequence[Sample], on: Resources) -> Mapping[str, Any]:
        atoms = [sample.atoms() for sample in samples]
        return {
            "image": np.stack([self._image(one) for one in atoms]),
            "positions": [one.frac @ one.lattice for one in atoms],
            "numbers": [np.full(len(one.frac), 79) for one in atoms],
            "volume": atoms[0].volume,
        }

    def _image(self, atoms: AtomicStructure) -> np.ndarray:
        edges = np.linspace(0, 1, self.pixels + 1)
        middle = (edges[1:] + edges[:-1]) / 2
        spots = np.exp(-(((middle - atoms.frac[:, :2, None]) / 0.08) ** 2))
        return np.einsum("ny,nx->yx", spots[:, 1], spots[:, 0]).astype(np.float32)
