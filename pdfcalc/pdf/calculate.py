"""One structure's PDF, by the engine that suits it."""

from __future__ import annotations

import math

import numpy as np

from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.pdf.parameters import PDFParameters

# Nanoseconds that the engines take for an image of a displacement, if symmetry makes none equal,
# for the class of a pair, and for a pair by itself: `benchmarks/comparison.py`.
_IMAGE_TIME, _COUNT_TIME, _PAIR_TIME = 40.0, 3.5, 3.0


def calculate_pdf(
    structure: object,
    parameters: PDFParameters,
    engine: str | None = None,
    pair: tuple[str, str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The pair distribution function G(r) of a crystal or a particle.

    Args:
        structure: an AtomicStructure, or anything that `as_structure` makes one of.
        engine: "lattice" counts pairs by the classes of their displacements and is fast where
            atoms repeat on common sites; "pairs" takes every pair by itself; "diffpy" calls
            diffpy.srreal where it is installed. All three give the same G(r), but the last knows
            no form factors that depend on Q. None takes the faster of the first two.
        pair: two element labels, to get only what pairs of these elements add to G(r). Such
            partials of all pairs of elements add up to G(r): each is normalised by <b>^2 of the
            whole structure, and has its share of <b>^2 as its share of the baseline, as in PDFgui.
            (diffpy.srreal shares the baseline by numbers of pairs, which leaves a slope.) With
            form factors that depend on Q, <b>^2 and the shares are those at each Q.

    Returns:
        r (n_r,) in A, G (n_r,) in 1/A^2.

    Raises:
        ValueError: unknown engine or element, an average scattering power of zero, more than 1000
            kinds of atoms, by label, Uiso and occupancy, or form factors that depend on Q with
            engine="diffpy" or an element that has none.
        ImportError: engine="diffpy" without diffpy.srreal.
    """
    from pdfcalc.crystals.inputs import as_structure
    from pdfcalc.pdf.form_factor_weights import pdf_weighted_in_q
    from pdfcalc.pdf.lattice import lattice_peaks
    from pdfcalc.pdf.pairs import pair_peaks
    from pdfcalc.pdf.species import species_of, species_pairs
    from pdfcalc.pdf.transform import pdf_from_peaks

    atoms = as_structure(structure)
    engines = {"lattice": lattice_peaks, "pairs": pair_peaks}
    if engine is None:
        engine = _faster_engine(atoms, parameters)
    if engine not in (*engines, "diffpy"):
        raise ValueError(f"engine {engine!r} is not one of 'lattice', 'pairs', 'diffpy'")
    n_atoms = atoms.occupancy.sum()
    species = species_of(atoms, parameters)
    total_power = sum(kind.power * len(kind.atoms) for kind in species)
    if abs(total_power) < 1e-9 * n_atoms:
        raise ValueError("the average scattering power is zero: G(r) can't be normalised")
    pairs = species_pairs(species, pair)
    if parameters.form_factors == "q_dependent" and engine != "diffpy":
        return parameters.r, pdf_weighted_in_q(atoms, pairs, engines[engine], parameters)
    density = atoms.number_density
    if pair is not None:
        density *= sum(p.total_weight for p in pairs) / total_power**2
    if engine == "diffpy":
        from pdfcalc.pdf.diffpy import diffpy_pdf

        return parameters.r, diffpy_pdf(atoms, parameters, pair, density)
    peaks = np.zeros(parameters.extended_grid.size)
    if pairs:
        peaks = engines[engine](atoms, pairs, parameters) * n_atoms / total_power**2
    return parameters.r, pdf_from_peaks(peaks[None], np.array([density]), parameters)[0]


def _faster_engine(structure: AtomicStructure, parameters: PDFParameters) -> str:
    """The engine that takes less time, from the numbers of sites and of pairs within reach."""
    from pdfcalc.crystals.displacements import find_sites

    if not structure.periodic:
        return "pairs"
    n_atoms = len(structure.frac)
    sites, _ = find_sites(structure.frac, structure.lattice)
    n_neighbours = n_atoms / structure.volume * 4 / 3 * math.pi * parameters.rmax**3
    by_displacement = _IMAGE_TIME * len(sites.frac) * n_neighbours + _COUNT_TIME * n_atoms**2
    return "lattice" if by_displacement < _PAIR_TIME * n_atoms * n_neighbours else "pairs"
