"""Atoms that scatter and vibrate alike, and the pairs of them that a PDF is the sum of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.pdf.parameters import PDFParameters

_MOST_SPECIES = 1000  # of which there are half a million pairs


@dataclass(frozen=True, eq=False)
class Species:
    """Atoms of one label with the same Uiso (A^2) and occupancy times scattering power.

    `atoms` (n,) are indices into the structure's arrays.
    """

    element: str
    power: float
    uiso: float
    atoms: np.ndarray


@dataclass(frozen=True, eq=False)
class SpeciesPair:
    """The ordered pairs of atoms from `first` to `second`, each of which counts `weight` times.

    The weight is the product of the scattering powers, twice that of two different species: it
    holds the pairs from `second` to `first` as well.
    """

    first: Species
    second: Species
    weight: float

    @property
    def u_sum(self) -> float:
        """Sum of the two atoms' Uiso, A^2."""
        return self.first.uiso + self.second.uiso

    @property
    def total_weight(self) -> float:
        """Weight of all its pairs of atoms."""
        return self.weight * len(self.first.atoms) * len(self.second.atoms)


def species_of(structure: AtomicStructure, parameters: PDFParameters) -> list[Species]:
    """The species of a structure.

    Raises:
        ValueError: a label has no scattering power.
    """
    labels, label = np.unique(structure.elements, return_inverse=True)
    bare = np.array([parameters.scattering_power(element) for element in labels.tolist()])
    keys = np.stack([label, bare[label] * structure.occupancy, structure.uiso], axis=1)
    kinds, member = np.unique(keys, axis=0, return_inverse=True)
    return [
        Species(str(labels[int(which)]), power, uiso, np.flatnonzero(member.ravel() == index))
        for index, (which, power, uiso) in enumerate(kinds.tolist())
    ]


def species_pairs(
    species: Sequence[Species], elements: tuple[str, str] | None = None
) -> list[SpeciesPair]:
    """All pairs of species that scatter, or those of two elements, each pair once.

    Raises:
        ValueError: no species is of one of the elements, or there are too many species.
    """
    if len(species) > _MOST_SPECIES:
        raise ValueError(
            f"{len(species)} kinds of atoms, by label, Uiso and occupancy: at most {_MOST_SPECIES} "
            "are possible, so round Uiso and occupancies"
        )
    present = sorted({kind.element for kind in species})
    for element in elements or ():
        if element not in present:
            raise ValueError(
                f"the structure has no {element!r}: its elements are {', '.join(present)}"
            )
    pairs = []
    for first, second in itertools.combinations_with_replacement(species, 2):
        weight = first.power * second.power * (1 if first is second else 2)
        chosen = elements is None or {first.element, second.element} == set(elements)
        if chosen and weight != 0:
            pairs.append(SpeciesPair(first, second, weight))
    return pairs
