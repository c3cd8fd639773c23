"""Atoms caught in their thermal motion, near ones moving together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from defectgen.samples import Coordinate, Field, Resources, Sample, UnusableItem
from pdfcalc.crystals.structure import AtomicStructure

_DIGITS = 8
"""Of displacements, A."""
_LEAST_LEFT = 1e-3
"""Part of Uiso that stays at least: what takes atoms needs it positive."""


class Thermal(BaseModel):
    """One moment of a sample: each atom displaced as its Uiso says, by waves of a Debye crystal.

    The waves are those of the periodic supercell up to the Debye wave number k = (6 pi^2 n)^(1/3),
    n atoms per volume, of one velocity for all polarisations; their mean squares go as
    coth(x / 2) / q with x = theta q / (T k). Displacements of atoms at a distance r then correlate
    as the mean of sin(q r) / (q r) over these waves: Si(k r) / (k r) in the classical limit, and
    2 (1 - cos(k r)) / (k r)^2 at 0 K (G. Beni and P. M. Platzman, Phys. Rev. B 14 (1976) 1514, DOI
    10.1103/PhysRevB.14.1514). It is r^-2 times what delta2 is for neighbours at that distance
    (I.-K. Jeong et al., Phys. Rev. B 67 (2003) 104301, DOI 10.1103/PhysRevB.67.104301). Waves
    longer than the supercell are not in it: their part of Uiso stays with the atoms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str] = "thermal"
    revision: ClassVar[int] = 1
    exact: ClassVar[bool] = True

    theta_over_t: float = Setting(
        0.0,
        ge=0,
        le=1000,
        description="Debye temperature over temperature; 0 is the classical limit",
    )

    def fields(self) -> dict[str, Field]:
        attributes = {"long_name": "rms displacement of the atoms", "units": "angstrom"}
        return {"rms_displacement": Field("float32", math.nan, attributes)}

    def coordinates(self) -> dict[str, Coordinate]:
        return {}

    def apply(self, samples: Sequence[Sample], on: Resources) -> list[Sample]:
        return [self._moved(sample) for sample in samples]

    def _moved(self, sample: Sample) -> Sample:
        atoms = sample.atoms()
        if not atoms.periodic:
            raise UnusableItem("thermal waves need a crystal, and this is a particle")
        waves, mean_squares = waves_of(atoms.lattice, len(atoms.frac), self.theta_over_t)
        amplitudes = sample.random(self.name).normal(size=(2, len(waves), 3))
        amplitudes *= np.sqrt(2 * mean_squares)[:, None]
        phases = atoms.frac @ atoms.lattice @ waves.T
        unit = np.cos(phases) @ amplitudes[0] + np.sin(phases) @ amplitudes[1]
        # Sums of other machines may differ in the last digits.
        displacements = np.round(np.sqrt(atoms.uiso)[:, None] * unit, _DIGITS)
        left = max(1 - 2 * float(mean_squares.sum()), _LEAST_LEFT)
        rms = float(np.sqrt((displacements**2).sum(axis=1).mean()))
        return replace(
            sample,
            atoms=partial(_displaced, sample.atoms, displacements, left),
            lattice=None,
            values={**sample.values, "rms_displacement": rms},
        )


def waves_of(
    lattice: np.ndarray, n_atoms: int, theta_over_t: float
) -> tuple[np.ndarray, np.ndarray]:
    """Wave vectors (n, 3) of a supercell, 1/A, one of each two that are opposite, and their parts.

    Args:
        lattice: (3, 3) its vectors as rows, A.

    Returns:
        The vectors, and (n,) the part of the mean square displacement along a direction that each
        of the two has; all together are less than 1 by the waves that are longer than the cell.
    """
    volume = abs(np.linalg.det(lattice))
    largest = (6 * np.pi**2 * n_atoms / volume) ** (1 / 3)
    most = np.floor(largest * np.linalg.norm(lattice, axis=1) / (2 * np.pi)).astype(int)
    indices = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in most), indexing="ij"), axis=-1)
    indices = indices.reshape(-1, 3)
    # The upper half in this order has one of each two; the middle is no wave.
    waves = 2 * np.pi * indices[len(indices) // 2 + 1 :] @ np.linalg.inv(lattice).T
    q = np.linalg.norm(waves, axis=1)
    waves, q = waves[q <= largest], q[q <= largest]
    nodes, weights = np.polynomial.legendre.leggauss(64)
    every = 0.5 * (nodes + 1)
    mean = 1.5 * float(np.sum(weights * every**2 * _spectrum(every, theta_over_t)))
    return waves, _spectrum(q / largest, theta_over_t) / (n_atoms * mean)


def _spectrum(q: np.ndarray, theta_over_t: float) -> np.ndarray:
    """Mean square displacement of waves, of q as part of the largest, up to a factor."""
    if theta_over_t == 0:
        return 1 / q**2
    return 1 / (q * np.tanh(0.5 * theta_over_t * q))


def _displaced(
    before: Callable[[], AtomicStructure], displacements: np.ndarray, left: float
) -> AtomicStructure:
    atoms = before()
    frac = atoms.frac + displacements @ np.linalg.inv(atoms.lattice)
    return AtomicStructure(atoms.lattice, frac, atoms.elements, left * atoms.uiso, atoms.occupancy)


PLUG_IN = Thermal
