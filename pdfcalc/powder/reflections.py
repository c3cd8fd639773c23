"""Reflections of a lattice, and what atoms scatter into them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pdfcalc.crystals.scattering import form_factor
from pdfcalc.crystals.structure import AtomicStructure

_SAME_SPACING = 1e-11
"""Relative difference of 1/d up to which reflections are one line: no more than rounding parts, as
a line is where the first of its reflections is, which in a supercell may be another."""
_MOST_REFLECTIONS = 20_000_000


@dataclass(frozen=True, eq=False)
class Reflections:
    """Reflections, one of each pair hkl and -h-k-l, line by line and by rising s.

    Args:
        hkl: (M, 3) Miller indices; h is not negative.
        s: (M,) sin(theta) / lambda = 1 / (2 d), 1/A.
        starts: (L,) first reflection of each line: of each spacing d.
    """

    hkl: np.ndarray
    s: np.ndarray
    starts: np.ndarray

    @property
    def multiplicity(self) -> np.ndarray:
        """(L,) reflections of each line, -h-k-l as well: equivalent, and coincident by chance."""
        return 2 * np.diff(self.starts, append=len(self.s))

    def sum(self, values: np.ndarray) -> np.ndarray:
        """(..., L) sum of (..., M) over the reflections of each line, -h-k-l as well."""
        if not len(self.starts):
            return np.zeros((*values.shape[:-1], 0))
        return 2 * np.add.reduceat(values, self.starts, axis=-1)


def find_reflections(lattice: np.ndarray, s_range: tuple[float, float]) -> Reflections:
    """The reflections of a lattice ((3, 3) rows, A) in a range of s, in 1/A, but 000.

    Raises:
        ValueError: there are too many of them.
    """
    # h = G . a, and G has length 2 s.
    most = np.floor(2 * s_range[1] * np.linalg.norm(lattice, axis=1)).astype(int)
    if (most[0] + 1) * math.prod((2 * most[1:] + 1).tolist()) > _MOST_REFLECTIONS:
        raise ValueError(
            f"a cell of {abs(np.linalg.det(lattice)):.0f} A^3 has more reflections up to "
            f"1 / (2 d) = {s_range[1]:.2f} 1/A than can be handled: take a smaller cell, a longer "
            "wavelength or a narrower range"
        )
    h, k, l = np.arange(most[0] + 1), *(np.arange(-n, n + 1) for n in most[1:])  # noqa: E741
    hkl = np.stack(np.meshgrid(h, k, l, indexing="ij"), axis=-1).reshape(-1, 3)
    # Those behind 000 hold one of each pair.
    hkl = hkl[most[1] * len(l) + most[2] + 1 :]
    reciprocal = np.linalg.inv(lattice).T
    s = 0.5 * np.linalg.norm((hkl[:, :, None] * reciprocal).sum(axis=1), axis=1)
    inside = (s >= s_range[0]) & (s <= s_range[1])
    return _by_lines(hkl[inside], s[inside])


def _by_lines(hkl: np.ndarray, s: np.ndarray) -> Reflections:
    order = np.argsort(s)
    rising = s[order]
    line = np.zeros(len(s), dtype=np.int64)
    line[order[1:]] = np.cumsum(np.diff(rising) > _SAME_SPACING * rising[1:])
    # Within a line by falling indices, which rounding errors don't change.
    order = np.lexsort((*(-hkl.T[::-1]), line))
    starts = np.flatnonzero(np.diff(line[order], prepend=-1))
    return Reflections(hkl[order], s[order], starts)


def structure_factors(structure: AtomicStructure, reflections: Reflections) -> np.ndarray:
    """(M,) F(hkl) of the cell, complex, in electrons.

    F = sum over atoms of occupancy f(s) exp(-8 pi^2 Uiso s^2) exp(2 pi i (h x + k y + l z));
    International Tables for Crystallography B (2008), chapter 1.2.

    Raises:
        ValueError: an element has no form factor.
    """
    total = np.zeros(len(reflections.s), dtype=complex)
    kinds = set(zip(structure.elements.tolist(), structure.uiso.tolist(), strict=True))
    for element, uiso in sorted(kinds):
        atoms = (structure.elements == element) & (structure.uiso == uiso)
        phases = phase_sums(structure.occupancy[None, atoms], structure.frac[atoms], reflections)
        total += atomic_amplitude(element, uiso, reflections.s) * phases[0]
    return total


def atomic_amplitude(element: str, uiso: float, s: np.ndarray) -> np.ndarray:
    """(M,) electrons that an atom scatters with, f(s) exp(-8 pi^2 Uiso s^2); Uiso in A^2.

    The exponent is -B s^2 with B = 8 pi^2 Uiso: K. N. Trueblood et al., Acta Cryst. A52 (1996) 770,
    DOI 10.1107/S0108767396005697.
    """
    return form_factor(element, s) * np.exp(-8 * math.pi**2 * uiso * s**2)


def phase_sums(weights: np.ndarray, frac: np.ndarray, reflections: Reflections) -> np.ndarray:
    """(K, M) sums over atoms of weight exp(2 pi i (h x + k y + l z)).

    exp(2 pi i h x) is the same for many reflections, so that the whole box of indices takes less
    time than its reflections one by one. Its products are not those of BLAS, whose last bits depend
    on the number of threads.

    Args:
        weights: (K, N) of each atom in each sum.
        frac: (N, 3) fractional coordinates.
    """
    hkl = reflections.hkl
    if not len(hkl):
        return np.zeros((len(weights), 0), dtype=complex)
    most = np.abs(hkl).max(axis=0).tolist()
    x, y, z = (
        _waves(np.arange(0 if axis == 0 else -n, n + 1), frac[:, axis])
        for axis, n in enumerate(most)
    )
    box = np.empty((len(weights), len(x), len(y), len(z)), dtype=complex)
    for h, wave in enumerate(x):
        np.einsum("ckn,ln->ckl", (weights * wave)[:, None] * y, z, out=box[:, h])
    h, k, l = (hkl + np.array([0, most[1], most[2]])).T  # noqa: E741
    return box[:, h, k, l]


def _waves(indices: np.ndarray, coordinate: npt.NDArray[np.float64]) -> np.ndarray:
    """(n, N) exp(2 pi i h x)."""
    return np.exp(2j * math.pi * np.outer(indices, coordinate))
