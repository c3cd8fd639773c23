"""Atoms that scatter and vibrate alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdfcalc.parameters import PDFParameters
from pdfcalc.scattering import scattering_power
from pdfcalc.structure import AtomicStructure


@dataclass(frozen=True, eq=False)
class Species:
    """Atoms with the same Uiso (A^2) and the same occupancy times scattering power."""

    power: float
    uiso: float
    atoms: np.ndarray


def species_of(structure: AtomicStructure, parameters: PDFParameters) -> list[Species]:
    """The species of a structure; `atoms` are indices into its arrays."""
    elements = structure.elements.tolist()
    bare = np.array([scattering_power(element, parameters.scattering) for element in elements])
    keys = np.stack([bare * structure.occupancy, structure.uiso], axis=1)
    kinds, member = np.unique(keys, axis=0, return_inverse=True)
    return [
        Species(power, uiso, np.flatnonzero(member.ravel() == index))
        for index, (power, uiso) in enumerate(kinds.tolist())
    ]
