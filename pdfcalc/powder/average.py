"""Patterns of many variants of one crystal, each by its average structure.

A variant's supercell is folded back onto the unit cell: each site has the occupancy by each element
that it has on average over the cells. Its structure factors are those of the supercell itself at
the reflections of the unit cell. What the supercell scatters between these, diffusely if the
defects are put at random, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pdfcalc.powder.parameters import PowderParameters
from pdfcalc.powder.pattern import line_intensities, profile, scattering_angles
from pdfcalc.powder.reflections import (
    Reflections,
    atomic_amplitude,
    find_reflections,
    phase_sums,
)

if TYPE_CHECKING:
    from pdfcalc.pdf.lattice import Change, LatticeCrystal


def average_patterns(
    crystal: LatticeCrystal, changes: Sequence[Change], parameters: PowderParameters
) -> np.ndarray:
    """(V, points) pattern of each change made to the crystal, in 1/A^6 for each degree.

    Raises:
        ValueError: an element has no form factor.
    """
    sites = crystal.sites
    lattice = sites.lattice / sites.repeats[:, None]
    reflections = find_reflections(lattice, parameters.s_range)
    factors = average_structure_factors(crystal, changes, reflections)
    volume = sites.volume / int(np.prod(sites.repeats))
    intensities = line_intensities(factors, reflections, volume, parameters)
    angles = scattering_angles(reflections.s[reflections.starts], parameters)
    return profile(angles, intensities, parameters)


def average_structure_factors(
    crystal: LatticeCrystal, changes: Sequence[Change], reflections: Reflections
) -> np.ndarray:
    """(V, M) F(hkl) of the unit cell of each variant, complex, in electrons."""
    own, new = occupancies(crystal, changes)
    phases = phase_sums(np.concatenate([own, new]), crystal.sites.frac, reflections)
    s = reflections.s
    by_own = atomic_amplitude(crystal.element, crystal.uiso, s)
    by_new = np.stack([atomic_amplitude(change.element, change.uiso, s) for change in changes])
    return by_own * phases[: len(changes)] + by_new * phases[len(changes) :]


def occupancies(
    crystal: LatticeCrystal, changes: Sequence[Change]
) -> tuple[np.ndarray, np.ndarray]:
    """(V, S) each, of the sites of the unit cell by the crystal's element and by the other one."""
    n_sites, n_cells = len(crystal.sites.frac), int(np.prod(crystal.sites.repeats))
    own, new = np.zeros((2, len(changes), n_sites))
    own[:, : crystal.n_filled] = n_cells
    for row, change in enumerate(changes):
        own[row] += np.bincount(change.own.site, minlength=n_sites)
        own[row] -= np.bincount(change.removed.site, minlength=n_sites)
        new[row] = np.bincount(change.added.site, minlength=n_sites)
    return own / n_cells, new / n_cells
