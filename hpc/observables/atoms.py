"""The atoms of samples themselves, for other runs to observe (`hpc.store.stored_atoms`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from defectgen.samples import ATOM, Coordinate, Field, Resources, Sample, UnusableItem
from pdfcalc.crystals.structure import AtomicStructure

_OF_ATOMS = {
    "atom_frac": Field(
        "float64",
        math.nan,
        {"long_name": "fractional coordinates of each atom", "units": "1"},
        (ATOM, "vector"),
    ),
    "atom_number": Field("uint8", 0, {"long_name": "its atomic number", "units": "1"}, (ATOM,)),
    "atom_uiso": Field(
        "float64", math.nan, {"long_name": "its Uiso", "units": "angstrom2"}, (ATOM,)
    ),
    "atom_occupancy": Field("float64", 1.0, {"long_name": "its occupancy", "units": "1"}, (ATOM,)),
}
_CELL = Field(
    "float64",
    math.nan,
    {"long_name": "vectors of the cell, as rows", "units": "angstrom"},
    ("vector", "xyz"),
)


class Atoms(BaseModel):
    """Where the atoms of each sample are, to the last bit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str] = "atoms"
    revision: ClassVar[int] = 1
    title: ClassVar[str] = "Atoms"

    def fields(self) -> dict[str, Field]:
        return {"cell_vectors": _CELL} | _OF_ATOMS

    def coordinates(self) -> dict[str, Coordinate]:
        vectors = np.array(list("abc"), np.dtypes.StringDType())
        axes = np.array(list("xyz"), np.dtypes.StringDType())
        return {
            "vector": Coordinate(vectors, {"long_name": "vector of the cell"}),
            "xyz": Coordinate(axes, {"long_name": "Cartesian axis"}),
        }

    def lack(self, element: str) -> str | None:
        return None

    def compute(
        self, samples: Sequence[Sample], on: Resources
    ) -> Mapping[str, Sequence[np.ndarray] | np.ndarray]:
        every = [sample.atoms() for sample in samples]
        return {
            "cell_vectors": np.stack([atoms.lattice for atoms in every]),
            "atom_frac": [atoms.frac for atoms in every],
            "atom_number": [_numbers(atoms) for atoms in every],
            "atom_uiso": [atoms.uiso for atoms in every],
            "atom_occupancy": [atoms.occupancy for atoms in every],
        }


def atoms_from(values: Mapping[str, np.ndarray]) -> AtomicStructure:
    """The atoms of a sample of which the fields hold these values."""
    import periodictable

    known = {int(z): periodictable.elements[int(z)].symbol for z in set(values["atom_number"])}
    return AtomicStructure(
        values["cell_vectors"],
        values["atom_frac"],
        [known[z] for z in values["atom_number"].tolist()],
        values["atom_uiso"],
        values["atom_occupancy"],
    )


def _numbers(atoms: AtomicStructure) -> np.ndarray:
    import periodictable

    if not atoms.periodic:
        raise UnusableItem(
            "atoms are stored with the cell that they repeat in, and these have none"
        )
    numbers = {}
    for label in dict.fromkeys(atoms.elements.tolist()):
        numbers[label] = next((e.number for e in periodictable.elements if e.symbol == label), 0)
        if not numbers[label]:
            raise UnusableItem(f"atoms are stored by element, and {label} is none")
    return np.array([numbers[label] for label in atoms.elements.tolist()], dtype=np.uint8)


PLUG_IN = Atoms
