"""Displacements of the atoms of a periodic supercell by forces on them, at zero pressure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from defectgen.relaxation.springs import Springs


@dataclass(frozen=True, eq=False)
class Push:
    """Forces on atoms around one defect that make the crystal larger by one atomic volume, and the
    cells and numbers of these atoms.

    Args:
        cell: (M, 3) cells from the defect's own.
        atom: (M,) atoms of the cell.
        force: (M, 3), without a sum.
        dipole: (6,) their moments about the defect, in Voigt's order, shears once.
        most: atomic volumes that such a defect may take.
    """

    cell: np.ndarray
    atom: np.ndarray
    force: np.ndarray
    dipole: np.ndarray
    most: float


class Statics:
    """The harmonic response of a supercell, `repeats` cells along each axis.

    Displacements are what the forces give in the unchanged crystal (H. Kanzaki, J. Phys. Chem.
    Solids 2 (1957) 24, DOI 10.1016/0022-3697(57)90003-3), by waves (V. K. Tewary, Adv. Phys. 22
    (1973) 757, DOI 10.1080/00018737300101389). The cell follows the forces' dipole, so that nothing
    presses on it.

    Raises:
        UnusableItem: the crystal is not stable.
    """

    def __init__(self, springs: Springs, repeats: np.ndarray) -> None:
        self.bonds = springs.bonds
        self._repeats = tuple(repeats.tolist())
        self._n_own = 3 * self.bonds.n_atoms
        waves = np.indices(self._repeats).reshape(3, -1).T / repeats
        self._inverse = np.zeros((len(waves), self._n_own, self._n_own), dtype=complex)
        self._inverse[1:] = springs.inverted(waves[1:])
        still = springs.stiffness(springs.bonds.still)
        self._still = np.linalg.pinv(still, rcond=1e-9, hermitian=True)

    def volume(self, force: np.ndarray, dipole: np.ndarray) -> float:
        """By how many atomic volumes forces make the crystal larger.

        Args:
            force: (N, 3) on each atom of a cell, of all cells together.
            dipole: (6,) as of `respond`.
        """
        strain = (self._still @ np.concatenate([force.ravel(), dipole]))[self._n_own :]
        return float(self.bonds.n_atoms * strain[:3].sum())

    def respond(
        self, pushes: Iterable[tuple[Push, np.ndarray, float]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """What pushes do together, each in a cell (3,) and of so many atomic volumes.

        Returns:
            Displacements (n1, n2, n3, N, 3) about those of the strain (3, 3), which is symmetric.
        """
        forces = np.zeros((*self._repeats, *self.bonds.frac.shape))
        dipole = np.zeros(6)
        for push, cell, volume in pushes:
            at = ((cell + push.cell) % self._repeats).T
            size = min(max(volume, -push.most), push.most)
            np.add.at(forces, (*at, push.atom), size * push.force)
            dipole += size * push.dipole
        of_cells = forces.reshape(*self._repeats, self._n_own)
        waves = np.fft.fftn(of_cells, axes=(0, 1, 2)).reshape(-1, self._n_own)
        moved = (self._inverse @ waves[:, :, None])[:, :, 0]
        still = self._still @ np.concatenate([waves[0].real, dipole])
        moved[0] = still[: self._n_own]
        displacements = np.fft.ifftn(moved.reshape(*self._repeats, -1), axes=(0, 1, 2)).real
        xx, yy, zz, yz, xz, xy = still[self._n_own :] / len(waves)
        strain = np.array([[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]])
        return displacements.reshape(forces.shape), strain

    def of_one(
        self, push: Push, cell: np.ndarray, atom: np.ndarray, vector: np.ndarray
    ) -> np.ndarray:
        """(M, 3) what one push in cell 0, of one atomic volume, does to atoms with their strain.

        Args:
            cell: (M, 3) of the atoms.
            atom: (M,) their numbers in it.
            vector: (M, 3) where they are, as seen from the defect.
        """
        displacements, strain = self.respond([(push, np.zeros(3, dtype=np.int64), 1.0)])
        return displacements[(*(cell % self._repeats).T, atom)] + vector @ strain
