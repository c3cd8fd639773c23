"""Powder patterns of crystals: lines, and these as an instrument's resolution spreads them.

Intensities are those of one volume of powder, so that crystals with and without defects, in
whatever cell, share a scale: the sum over reflections of |F|^2 LP / V^2, where F is in electrons
and V is the volume of the cell of F. Times I0 r_e^2 lambda^3 / (32 pi R) and the irradiated volume
they are the power that a length of the ring receives at the distance R (B. E. Warren, X-ray
Diffraction, Addison-Wesley 1969).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pdfcalc.crystals.inputs import as_structure
from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.powder.parameters import PowderParameters
from pdfcalc.powder.reflections import Reflections, find_reflections, structure_factors


@dataclass(frozen=True, eq=False)
class PowderLines:
    """The lines of a crystal, by rising angle.

    Args:
        hkl: (L, 3) one reflection of each.
        multiplicity: (L,) reflections in each.
        d: (L,) spacing, A.
        two_theta: (L,) degrees.
        intensity: (L,) integrated, 1/A^6.
    """

    hkl: np.ndarray
    multiplicity: np.ndarray
    d: np.ndarray
    two_theta: np.ndarray
    intensity: np.ndarray


def powder_lines(structure: object, parameters: PowderParameters) -> PowderLines:
    """Lines of a crystal that reach into the angles, those of no intensity as well.

    Args:
        structure: an AtomicStructure, or anything that `as_structure` makes one of.

    Raises:
        ValueError: a particle, an element without form factor, or too many reflections.
    """
    atoms = as_structure(structure)
    reflections = _reflections_of(atoms, parameters)
    factors = structure_factors(atoms, reflections)
    s, first = reflections.s[reflections.starts], reflections.hkl[reflections.starts]
    intensity = line_intensities(factors, reflections, atoms.volume, parameters)
    angles = scattering_angles(s, parameters)
    return PowderLines(first, reflections.multiplicity, 0.5 / s, angles, intensity)


def calculate_powder_pattern(
    structure: object, parameters: PowderParameters
) -> tuple[np.ndarray, np.ndarray]:
    """The X-ray powder pattern of a crystal, by kinematic theory.

    Args:
        structure: an AtomicStructure, or anything that `as_structure` makes one of.

    Returns:
        Scattering angle 2 theta (points,) in degrees, intensity (points,) in 1/A^6 for each degree.

    Raises:
        ValueError: a particle, an element without form factor, or too many reflections.
    """
    lines = powder_lines(structure, parameters)
    return parameters.angles, profile(lines.two_theta, lines.intensity[None], parameters)[0]


def _reflections_of(structure: AtomicStructure, parameters: PowderParameters) -> Reflections:
    if not structure.periodic:
        raise ValueError("a particle without periodic images has no reflections: give a crystal")
    return find_reflections(structure.lattice, parameters.s_range)


def scattering_angles(s: np.ndarray, parameters: PowderParameters) -> np.ndarray:
    """2 theta in degrees at s = sin(theta) / lambda in 1/A, by Bragg's law."""
    return np.degrees(2 * np.arcsin(s * parameters.wavelength))


def lorentz_polarisation(s: np.ndarray, wavelength: float) -> np.ndarray:
    """(1 + cos^2 2 theta) / (sin^2 theta cos theta): unpolarised X-rays, no monochromator.

    International Tables for Crystallography C (2004), chapter 6.2.
    """
    sine_squared = (s * wavelength) ** 2
    return (1 + (1 - 2 * sine_squared) ** 2) / (sine_squared * np.sqrt(1 - sine_squared))


def line_intensities(
    factors: np.ndarray, reflections: Reflections, volume: float, parameters: PowderParameters
) -> np.ndarray:
    """(..., L) |F|^2 LP / V^2 of the reflections of each line, 1/A^6.

    Args:
        factors: (..., M) structure factors of a cell, electrons.
        volume: of that cell, A^3.
    """
    s = reflections.s[reflections.starts]
    squares = factors.real**2 + factors.imag**2
    return reflections.sum(squares) * lorentz_polarisation(s, parameters.wavelength) / volume**2


def profile(
    two_theta: np.ndarray, intensities: np.ndarray, parameters: PowderParameters
) -> np.ndarray:
    """(V, points) patterns of lines at (L,) angles in degrees, of (V, L) intensities.

    Each line is a Gaussian in 2 theta of unit area, so that a pattern has the unit of the
    intensities for each degree.
    """
    sigma, points = parameters.sigma, parameters.points
    place = (two_theta - parameters.two_theta[0]) / parameters.step
    reach = math.ceil(parameters.reach / parameters.step)
    index = np.rint(place).astype(int)[:, None] + np.arange(-reach, reach + 1)
    away = (index - place[:, None]) * parameters.step
    heights = np.exp(-0.5 * (away / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    inside = (index >= 0) & (index < points)
    return np.stack(
        [
            np.bincount(index[inside], (heights * row[:, None])[inside], minlength=points)
            for row in intensities
        ]
    )
