"""G(r) with X-ray form factors that fall with Q: the partial PDFs of elements, weighted in Q.

F(Q) is the sum over pairs of elements of c_i c_j f_i(Q) f_j(Q) / <f(Q)>^2 F_ij(Q), where c are the
fractions of atoms and F_ij depends on where atoms are alone (T. E. Faber and J. M. Ziman, Phil.
Mag. 11 (1965) 153, DOI 10.1080/14786436508211931; D. A. Keen, J. Appl. Cryst. 34 (2001) 172,
DOI 10.1107/S0021889800019993). The weights of all pairs add up to 1 at each Q, so that the
baseline of the whole is that of constant form factors.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from pdfcalc.crystals.scattering import form_factor
from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.pdf.species import SpeciesPair
from pdfcalc.pdf.transform import pdf_from_partials, transform_q

PeakSum = Callable[[AtomicStructure, Sequence[SpeciesPair], PDFParameters], np.ndarray]


def pdf_weighted_in_q(
    structure: AtomicStructure,
    pairs: Sequence[SpeciesPair],
    sum_peaks: PeakSum,
    parameters: PDFParameters,
) -> np.ndarray:
    """(n_r,) what pairs of species add to G(r), 1/A^2.

    Args:
        sum_peaks: an engine, called once for each pair of elements.

    Raises:
        ValueError: an element or ion has no form factor.
    """
    elements, member = np.unique(structure.elements, return_inverse=True)
    n_atoms = structure.occupancy.sum()
    fractions = np.bincount(member, structure.occupancy) / n_atoms
    electrons = np.array([parameters.scattering_power(one) for one in elements.tolist()])
    mean = float((fractions * electrons).sum())
    falling = _relative_form_factors(elements.tolist(), fractions, parameters)
    relative = dict(zip(elements.tolist(), falling * (mean / electrons)[:, None], strict=True))
    parts: dict[tuple[str, str], list[SpeciesPair]] = defaultdict(list)
    for pair in pairs:
        first, second = sorted((pair.first.element, pair.second.element))
        parts[first, second].append(pair)
    peaks = np.stack([sum_peaks(structure, some, parameters) for some in parts.values()])
    total_weights = np.array([sum(pair.total_weight for pair in some) for some in parts.values()])
    return pdf_from_partials(
        peaks / (n_atoms * mean**2),
        structure.number_density * total_weights / (n_atoms * mean) ** 2,
        parameters,
        np.stack([relative[first] * relative[second] for first, second in parts]),
    )


def _relative_form_factors(
    elements: Sequence[str], fractions: np.ndarray, parameters: PDFParameters
) -> np.ndarray:
    """(E, m) f(Q) / <f(Q)> of each element, at the points of `transform_q` below qmax."""
    q = transform_q(parameters)
    s = np.where(q < (parameters.qmax or 0.0), q, 0.0) / (4 * math.pi)
    f = np.stack([form_factor(element, s) for element in elements])
    return f / (fractions[:, None] * f).sum(axis=0)
