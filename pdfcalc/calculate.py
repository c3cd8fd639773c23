"""One structure's PDF, by the engine that suits it."""

from __future__ import annotations

import numpy as np

from pdfcalc.parameters import PDFParameters
from pdfcalc.structure import AtomicStructure


def calculate_pdf(
    structure: AtomicStructure, parameters: PDFParameters, engine: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The pair distribution function G(r) of a periodic structure.

    Args:
        engine: "lattice" counts pairs by the classes of their displacements and is fast where
            atoms repeat on common sites; "pairs" takes every pair by itself; "diffpy" calls
            diffpy.srreal where it is installed. All three give the same G(r). None takes "lattice"
            for atoms that share sites and "pairs" for others.

    Returns:
        r (n_r,) in A, G (n_r,) in 1/A^2.

    Raises:
        ValueError: unknown engine or element, or an average scattering power of zero.
        ImportError: engine="diffpy" without diffpy.srreal.
    """
    if engine == "diffpy":
        from pdfcalc.diffpy import diffpy_pdf

        return parameters.r, diffpy_pdf(structure, parameters)
    from pdfcalc.lattice import lattice_peaks
    from pdfcalc.pairs import pair_peaks
    from pdfcalc.species import species_of
    from pdfcalc.transform import pdf_from_peaks

    engines = {"lattice": lattice_peaks, "pairs": pair_peaks}
    if engine is None:
        engine = "lattice" if _share_sites(structure) else "pairs"
    if engine not in engines:
        raise ValueError(f"engine {engine!r} is not one of 'lattice', 'pairs', 'diffpy'")
    species = species_of(structure, parameters)
    n_atoms = structure.occupancy.sum()
    total_power = sum(kind.power * len(kind.atoms) for kind in species)
    if abs(total_power) < 1e-9 * n_atoms:
        raise ValueError("the average scattering power is zero: G(r) can't be normalised")
    peaks = engines[engine](structure, species, parameters) * n_atoms / total_power**2
    density = np.array([n_atoms / structure.volume])
    return parameters.r, pdf_from_peaks(peaks[None], density, parameters)[0]


def _share_sites(structure: AtomicStructure) -> bool:
    from pdfcalc.displacements import find_sites

    sites, _ = find_sites(structure.frac, structure.lattice)
    return 2 * len(sites.frac) <= len(structure.frac)
