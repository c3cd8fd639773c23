"""The pairs engine: every pair of atoms by itself, for atoms anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pdfcalc.parameters import PDFParameters
from pdfcalc.peaks import Mesh, image_distances, longest_distance, sum_peaks
from pdfcalc.species import Species, SpeciesPair
from pdfcalc.structure import AtomicStructure

_BLOCK = 200_000
"""Pairs whose images are looked at together; it bounds the memory."""


def pair_peaks(
    structure: AtomicStructure, pairs: Sequence[SpeciesPair], parameters: PDFParameters
) -> np.ndarray:
    """(n,) sum of weight / d * Gaussian over the pairs of atoms, on the extended grid."""
    grid = parameters.extended_grid
    total = np.zeros(grid.size)
    for pair in pairs:
        cutoff = longest_distance(grid, pair.u_sum, parameters.qbroad)
        mesh = Mesh(cutoff, 1)
        for vectors, factor in _displacements(structure.frac, pair.first, pair.second):
            for index, distances in image_distances(
                vectors, structure.lattice, cutoff, structure.periodic
            ):
                mesh.add(distances, factor[None, index])
        peaks = sum_peaks(mesh.distances, mesh.weights, pair.u_sum, parameters.qbroad, grid)[0]
        total += pair.weight * peaks
    return total


def _displacements(
    frac: np.ndarray, first: Species, second: Species
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Displacements (K, 3) of each pair of atoms once, and how often each counts."""
    rows = max(1, _BLOCK // len(second.atoms))
    for start in range(0, len(first.atoms), rows):
        one, other = first.atoms[start : start + rows, None], second.atoms[None, :]
        vectors = frac[other] - frac[one]
        factor = np.ones(vectors.shape[:2])
        if second is first:
            factor = np.where(one == other, 1.0, np.where(one < other, 2.0, 0.0))
        once = factor > 0
        yield vectors[once], factor[once]
