"""A crystal as springs: between near atoms, and on how closely each atom is surrounded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from defectgen.relaxation.elasticity import COMPONENTS
from defectgen.samples import UnusableItem

REACH = 1.6
"""Longest bond, in distances of nearest neighbours."""
_NEAR = 1.2
"""Longest bond that counts to how closely an atom is surrounded."""
_SAME_SHELL = 0.03
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_SOFTEST = 1e-3
"""Least stiffness of any wave in a crystal that counts as stable, c11 times a nearest distance."""
_DIGITS = 7


@dataclass(frozen=True, eq=False)
class Bonds:
    """The bonds of the atoms in a cell, each from both of its ends.

    Lengths are in distances of nearest neighbours.

    Args:
        frac: (N, 3) atoms of the cell.
        lattice: (3, 3) cell vectors as rows.
        first, second: (B,) the atom of the cell that a bond is of, and the one that it leads to.
        cell: (B, 3) cells from the first to the second.
        vector: (B, 3) from the first to the second.
    """

    frac: np.ndarray
    lattice: np.ndarray
    first: np.ndarray
    second: np.ndarray
    cell: np.ndarray
    vector: np.ndarray

    @classmethod
    def between(cls, frac: np.ndarray, lattice: np.ndarray, longest: float = REACH) -> Bonds:
        """All up to a length. frac (N, 3); the lattice has nearest neighbours at distance 1."""
        heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
        most = np.ceil(longest / heights).astype(int) + 1
        cells = np.indices(2 * most + 1).reshape(3, -1).T - most
        between = frac[None, :, None] + cells - frac[:, None, None]
        lengths = np.linalg.norm(between @ lattice, axis=-1)
        chosen = (lengths < longest) & (lengths > 1e-6)
        first, second, cell = np.nonzero(chosen)
        vectors = between[chosen] @ lattice
        return cls(frac, lattice, first, second, cells[cell], vectors)

    @property
    def n_atoms(self) -> int:
        return len(self.frac)

    @cached_property
    def length(self) -> np.ndarray:
        return np.linalg.norm(self.vector, axis=1)

    @cached_property
    def shell(self) -> np.ndarray:
        """(B,) bonds of like length have the same number."""
        order = np.argsort(self.length, kind="stable")
        rises = np.diff(self.length[order]) > _SAME_SHELL * self.length[order][:-1]
        shell = np.empty(len(order), dtype=np.int64)
        shell[order] = np.concatenate([[0], np.cumsum(rises)])
        return shell

    def stretches(self, waves: np.ndarray) -> np.ndarray:
        """(K, B, 3N) how much atoms displaced along each axis stretch each bond.

        Args:
            waves: (K, 3) wave vectors of the displacements, in those of the reciprocal cell.
        """
        direction = self.vector / self.length[:, None]
        phase = np.exp(2j * np.pi * waves @ self.cell.T)
        rows = np.zeros((len(waves), len(self.length), self.n_atoms, 3), dtype=complex)
        bond = np.arange(len(self.length))
        rows[:, bond, self.second] += phase[:, :, None] * direction
        rows[:, bond, self.first] -= direction
        return rows.reshape(len(waves), len(bond), 3 * self.n_atoms)

    @cached_property
    def strained(self) -> np.ndarray:
        """(B, 6) how much each component of a strain, in Voigt's order, stretches each bond."""
        direction = self.vector / self.length[:, None]
        return np.stack([direction[:, i] * self.vector[:, j] for i, j in VOIGT], axis=1)

    @cached_property
    def still(self) -> np.ndarray:
        """(B, 3N + 6) stretches by atoms that move alike in all cells, and by strains."""
        return np.concatenate([self.stretches(np.zeros((1, 3)))[0].real, self.strained], axis=1)


@dataclass(frozen=True, eq=False)
class Springs:
    """Stiffness of a crystal to displacements of its atoms.

    Each bond is a spring along its direction, alike in a shell; another one, for each atom, acts on
    the sum of the stretches of its bonds to near neighbours. This is what embedded-atom potentials
    (M. S. Daw and M. I. Baskes, Phys. Rev. B 29 (1984) 6443, DOI 10.1103/PhysRevB.29.6443) are to
    second order if pairs are at rest at their distance; the last spring makes c12 differ from c44,
    which springs between pairs alone can't. Units are c11 and the distance of nearest neighbours.

    Args:
        of_shells: stiffness of the bonds of each shell.
        of_sum: of the sum of an atom's stretches.
    """

    bonds: Bonds
    of_shells: np.ndarray
    of_sum: float

    @classmethod
    def fitted(cls, bonds: Bonds, constants: np.ndarray) -> Springs:
        """Those with the elastic constants (6,) of `elasticity`, or as near to them as can be."""
        from scipy.optimize import least_squares

        nearest = np.array([1.0, *([0.0] * bonds.shell.max()), 0.0])
        scale = abs(np.linalg.det(bonds.lattice)) / bonds.n_atoms

        def misfit(stiffness: np.ndarray) -> np.ndarray:
            found = cls(bonds, scale * stiffness[:-1], scale * stiffness[-1]).elastic_constants
            return np.array([found[at] for at in COMPONENTS]) - constants

        least = np.where(nearest > 0, 0.05, -0.3)
        found = least_squares(misfit, nearest + 0.02, bounds=(least, 10.0)).x
        # The last digits depend on the machine.
        stiffness = scale * np.round(found, _DIGITS)
        return cls(bonds, stiffness[:-1], stiffness[-1])

    def stiffness(self, stretches: np.ndarray) -> np.ndarray:
        """(..., M, M) second derivatives of a cell's energy by M motions that stretch bonds.

        Args:
            stretches: (..., B, M) of each bond by each motion.
        """
        transposed = stretches.conj().swapaxes(-1, -2)
        # Each bond is there from both ends.
        of_bonds = (transposed * (0.5 * self.of_shells[self.bonds.shell])) @ stretches
        near = (self.bonds.first == np.arange(self.bonds.n_atoms)[:, None]) & (
            self.bonds.length < _NEAR
        )
        sums = near.astype(float) @ stretches
        return of_bonds + self.of_sum * sums.conj().swapaxes(-1, -2) @ sums

    @property
    def elastic_constants(self) -> np.ndarray:
        """(6, 6) in Voigt's order, with the atoms of a cell free to move against each other."""
        n = 3 * self.bonds.n_atoms
        every = self.stiffness(self.bonds.still)
        inner = np.linalg.pinv(every[:n, :n], rcond=1e-9, hermitian=True)
        relaxed = every[n:, n:] - every[n:, :n] @ inner @ every[:n, n:]
        return relaxed / abs(np.linalg.det(self.bonds.lattice))

    def inverted(self, waves: np.ndarray) -> np.ndarray:
        """(K, 3N, 3N) inverse of the stiffness to each wave; (K, 3) as of `Bonds.stretches`.

        Raises:
            UnusableItem: the crystal is not stable.
        """
        stiffness = self.stiffness(self.bonds.stretches(waves))
        if np.linalg.eigvalsh(stiffness).min(initial=np.inf) < _SOFTEST:
            raise UnusableItem("springs with its elastic constants don't hold the crystal together")
        return np.linalg.inv(stiffness)
