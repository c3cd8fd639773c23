"""Atoms in a periodic cell, or in a particle, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class AtomicStructure:
    """A crystal or a particle, with isotropic displacements.

    Args:
        lattice: (3, 3) cell vectors as rows, A.
        frac: (N, 3) fractional coordinates; any real number.
        elements: (N,) labels that `scattering_power` knows: Ni, 58-Ni, Ni2+, or own ones.
        uiso: (N,) isotropic mean-square displacements, A^2, positive.
        occupancy: (N,) in (0, 1]; 1 where not given.
        periodic: whether the cell repeats; if not, it is only the frame of `frac`.

    Raises:
        ValueError: shapes disagree or a value is outside its range.
    """

    lattice: np.ndarray
    frac: np.ndarray
    elements: np.ndarray
    uiso: np.ndarray
    occupancy: np.ndarray
    periodic: bool

    def __init__(
        self,
        lattice: npt.ArrayLike,
        frac: npt.ArrayLike,
        elements: npt.ArrayLike,
        uiso: npt.ArrayLike,
        occupancy: npt.ArrayLike | None = None,
        periodic: bool = True,
    ) -> None:
        frac = _real(frac, "frac")
        if frac.size == 0:
            raise ValueError("frac is empty: a structure needs at least one atom")
        if frac.ndim != 2 or frac.shape[1] != 3:
            raise ValueError(f"frac has shape {frac.shape}: expected (N, 3), a row for each atom")
        n = len(frac)
        store: dict[str, Any] = {
            "lattice": _real(lattice, "lattice"),
            "frac": frac,
            "elements": np.asarray(elements, dtype=str),
            "uiso": _real(uiso, "uiso"),
            "occupancy": np.ones(n) if occupancy is None else _real(occupancy, "occupancy"),
            "periodic": periodic,
        }
        for name, value in store.items():
            object.__setattr__(self, name, value)
        if self.lattice.shape != (3, 3) or self.volume < 1e-6:
            raise ValueError(f"lattice {self.lattice.tolist()} does not span a volume")
        for name in ("elements", "uiso", "occupancy"):
            if store[name].shape != (n,):
                raise ValueError(f"{name} has shape {store[name].shape}: expected ({n},) as frac")
        if self.uiso.min() <= 0:
            raise ValueError(f"uiso = {self.uiso.min()}: must be positive (A^2)")
        if self.occupancy.min() <= 0 or self.occupancy.max() > 1:
            raise ValueError("occupancy must be in (0, 1]: leave an empty site out")

    @classmethod
    def finite(
        cls,
        positions: npt.ArrayLike,
        elements: npt.ArrayLike,
        uiso: npt.ArrayLike,
        occupancy: npt.ArrayLike | None = None,
    ) -> AtomicStructure:
        """A particle or molecule: atoms at Cartesian positions (N, 3) in A, without images."""
        return cls(np.eye(3), positions, elements, uiso, occupancy, periodic=False)

    @property
    def volume(self) -> float:
        """Volume of the cell in A^3."""
        return float(abs(np.linalg.det(self.lattice)))

    @property
    def number_density(self) -> float:
        """Atoms per A^3; 0 of a particle, which fills nothing of endless space."""
        return float(self.occupancy.sum()) / self.volume if self.periodic else 0.0


def _real(values: npt.ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains a value that is not finite")
    return array
