"""The pairs engine: every pair of atoms by itself, for atoms anywhere."""

from __future__ import annotations

import numpy as np

from pdfcalc.parameters import PDFParameters
from pdfcalc.peaks import image_distances, longest_distance, sum_peaks
from pdfcalc.species import Species
from pdfcalc.structure import AtomicStructure


def pair_peaks(
    structure: AtomicStructure, species: list[Species], parameters: PDFParameters
) -> np.ndarray:
    """(n,) sum of b_i b_j / d * Gaussian over the ordered pairs, on `parameters.r_extended`."""
    total = np.zeros(len(parameters.r_extended))
    for i, first in enumerate(species):
        for second in species[i:]:
            u_sum = first.uiso + second.uiso
            a, b = structure.frac[first.atoms], structure.frac[second.atoms]
            vectors = (b[None, :, :] - a[:, None, :]).reshape(-1, 3)
            factor = np.full(len(vectors), 1.0 if second is first else 2.0)
            if second is first:
                row, column = np.triu_indices(len(a))
                vectors = a[column] - a[row]
                factor = np.where(row == column, 1.0, 2.0)
            cutoff = longest_distance(parameters, u_sum)
            blocks = list(image_distances(vectors, structure.lattice, cutoff))
            distances = np.concatenate([length for _, length in blocks])
            weights = np.concatenate([factor[index] for index, _ in blocks])
            scale = first.power * second.power
            total += scale * sum_peaks(distances, weights[None], u_sum, parameters)[0]
    return total
