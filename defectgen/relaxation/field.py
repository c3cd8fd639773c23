"""The displacement field of any set of point defects in a crystal: the sum of those of each."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from defectgen.relaxation.elasticity import elastic_constants
from defectgen.relaxation.pushes import AS_FAR, HALF_DUMBBELL, push_around, push_from_site
from defectgen.relaxation.springs import Bonds, Springs
from defectgen.relaxation.statics import Push, Statics
from defectgen.relaxation.volumes import MEAN
from pdfcalc.crystals.displacements import Occupied
from pdfcalc.crystals.periodic import nearest_neighbour
from pdfcalc.pdf.lattice import LatticeCrystal

_DIGITS = 8
"""Of displacements, in distances of nearest neighbours: sums of other machines may differ."""
_HCP, _FCC, _BCC = 194, 225, 229
_DUMBBELLS = {
    _FCC: ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    _BCC: ((1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)),
    _HCP: ((1, 0, 0), (0, 1, 0), (1, 1, 0)),
}
"""Along which their atoms lie, in cell vectors: <100>, <110>, and in the basal plane (P. Ehrhart,
Landolt-Boernstein, New Series III/25 (1991), ch. 2)."""


class Defect(NamedTuple):
    """One point defect.

    Args:
        site: of the crystal's sites.
        cell: (3,) its cell.
        direction: (3,) along which a dumbbell lies, in cell vectors; zero for any other defect.
        volume: by which it makes the crystal larger, in atomic volumes.
        contraction: on an atom's site, as of `push_from_site`.
        pushed: between atoms, the volume at which these have moved as `push_around` has it.
    """

    site: int
    cell: np.ndarray
    direction: tuple[int, int, int]
    volume: float
    contraction: float | None = None
    pushed: float = MEAN.self_interstitial


class DisplacementField:
    """What defects do to the atoms of a crystal, which is the sum of what each does.

    Raises:
        UnusableItem: springs don't hold the crystal together.
    """

    def __init__(self, crystal: LatticeCrystal) -> None:
        sites = crystal.sites
        self._frac = sites.frac
        self._atoms = sites.frac[: crystal.n_filled]
        lattice = sites.lattice / sites.repeats[:, None]
        self.unit = nearest_neighbour(lattice, self._atoms)
        """Distance of nearest neighbours, A."""
        self._lattice = np.round(lattice / self.unit, _DIGITS)
        self.space_group = _space_group_of(self._atoms.tobytes(), self._lattice.tobytes())
        constants = elastic_constants(crystal.element, self.space_group)
        self._statics = _statics(
            self._atoms.tobytes(),
            self._lattice.tobytes(),
            constants.tobytes(),
            sites.repeats.tobytes(),
        )

    @property
    def atomic_volume(self) -> float:
        """Volume of the crystal for each atom, A^3."""
        return float(self.unit**3 * abs(np.linalg.det(self._lattice)) / len(self._atoms))

    def hole(self, site: int) -> float:
        """Radius of the largest sphere about a site, A, atoms being half a nearest neighbour's
        distance large."""
        near = self.nearest(site)
        vector = (self._atoms[near.site[0]] + near.cell[0] - self._frac[site]) @ self._lattice
        return self.unit * (float(np.linalg.norm(vector)) - 0.5)

    @property
    def dumbbells(self) -> tuple[tuple[int, int, int], ...]:
        """Directions of the dumbbells that self-interstitials form; empty where none are known."""
        return _DUMBBELLS.get(self.space_group, ())

    def split(self, direction: tuple[int, int, int]) -> np.ndarray:
        """(3,) from the middle of a dumbbell to one of its atoms, A."""
        return self.unit * self._split(direction)

    def of(self, defects: Iterable[Defect]) -> tuple[np.ndarray, np.ndarray]:
        """Displacements (n1, n2, n3, N, 3) of the crystal's atoms, A, about a strain (3, 3)."""
        pushes = [(self._push(defect), defect.cell, defect.volume) for defect in defects]
        displacements, strain = self._statics.respond(pushes)
        return self.unit * np.round(displacements, _DIGITS), np.round(strain, _DIGITS)

    def _push(self, defect: Defect) -> Push:
        if defect.site < len(self._atoms) and not any(defect.direction):
            return push_from_site(defect.site, defect.contraction, self._statics)
        centre, split = self._frac[defect.site], self._split(defect.direction)
        return _push_around(centre.tobytes(), split.tobytes(), defect.pushed, self._statics)

    def nearest(self, site: int) -> Occupied:
        """The atoms nearest to one of the crystal's sites in cell 0, but for one on it."""
        steps = np.indices((5, 5, 5)).reshape(3, -1).T - 2
        vectors = (self._atoms + steps[:, None] - self._frac[site]) @ self._lattice
        lengths = np.linalg.norm(vectors, axis=-1)
        lengths[lengths < 1e-3] = np.inf
        cell, atom = np.nonzero(lengths < AS_FAR * lengths.min())
        return Occupied(atom, steps[cell])

    def _split(self, direction: tuple[int, int, int]) -> np.ndarray:
        along = np.array(direction) @ self._lattice
        return HALF_DUMBBELL * along / (np.linalg.norm(along) or 1.0)


@lru_cache(maxsize=16)
def _statics(frac: bytes, lattice: bytes, constants: bytes, repeats: bytes) -> Statics:
    """By bytes, since many hosts differ in their size alone."""
    positions, cell = np.frombuffer(frac).reshape(-1, 3), np.frombuffer(lattice).reshape(3, 3)
    springs = Springs.fitted(Bonds.between(positions, cell), np.frombuffer(constants))
    return Statics(springs, np.frombuffer(repeats, dtype=np.int64))


@lru_cache(maxsize=256)
def _push_around(centre: bytes, split: bytes, volume: float, statics: Statics) -> Push:
    return push_around(np.frombuffer(centre), np.frombuffer(split), volume, statics)


@lru_cache(maxsize=16)
def _space_group_of(frac: bytes, lattice: bytes) -> int:
    """Number of the space group of a crystal of one element."""
    import spglib

    positions, cell = np.frombuffer(frac).reshape(-1, 3), np.frombuffer(lattice).reshape(3, 3)
    found = spglib.get_symmetry_dataset((cell.tolist(), positions.tolist(), [1] * len(positions)))
    return 1 if found is None else int(found.number)
