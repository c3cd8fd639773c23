"""The pairs engine: every pair of atoms by itself, for atoms anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pdfcalc.parameters import PDFParameters
from pdfcalc.peaks import Mesh, image_distances, longest_distance, sum_peaks
from pdfcalc.species import Species
from pdfcalc.structure import AtomicStructure

_BLOCK = 200_000
"""Pairs whose images are looked at together; it bounds the memory."""


def pair_peaks(
    structure: AtomicStructure, species: list[Species], parameters: PDFParameters
) -> np.ndarray:
    """(n,) sum of b_i b_j / d * Gaussian over the ordered pairs, on the extended grid."""
    grid = parameters.extended_grid
    total = np.zeros(grid.size)
    for i, first in enumerate(species):
        for second in species[i:]:
            u_sum = first.uiso + second.uiso
            cutoff = longest_distance(grid, u_sum, parameters.qbroad)
            mesh = Mesh(cutoff, 1)
            for vectors, factor in _displacements(structure.frac, first, second):
                for index, distances in image_distances(vectors, structure.lattice, cutoff):
                    mesh.add(distances, factor[None, index])
            peaks = sum_peaks(mesh.distances, mesh.weights, u_sum, parameters.qbroad, grid)[0]
            total += first.power * second.power * peaks
    return total


def _displacements(
    frac: np.ndarray, first: Species, second: Species
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Displacements (K, 3) of each pair of atoms once, and how many ordered pairs each is."""
    rows = max(1, _BLOCK // len(second.atoms))
    for start in range(0, len(first.atoms), rows):
        one, other = first.atoms[start : start + rows, None], second.atoms[None, :]
        vectors = frac[other] - frac[one]
        factor = np.full(vectors.shape[:2], 2.0)
        if second is first:
            factor = np.where(one == other, 1.0, np.where(one < other, 2.0, 0.0))
        once = factor > 0
        yield vectors[once], factor[once]
