"""Potentials by name, and atoms relaxed by them in a cell at no pressure.

- `eam`: embedded-atom potentials of a few metals and alloys, by LAMMPS (`lammps_eam`);
- `emt`: effective medium theory of Al, Cu, Ag, Au, Ni, Pd and Pt in any mixture, which ASE has
  (K. W. Jacobsen, P. Stoltze and J. K. Norskov, Surf. Sci. 366 (1996) 394,
  DOI 10.1016/0039-6028(96)00816-3);
- `chgnet`: a network trained on density functional theory of 89 elements, in
  the extra `universal` (B. Deng et al., Nat. Mach. Intell. 5 (2023) 1031,
  DOI 10.1038/s42256-023-00716-3). It is softer than these metals are: take its displacements, not
  its energies.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from defectgen.relaxation import lammps_eam
from defectgen.relaxation.relaxed_structure import RelaxedStructure
from pdfcalc.crystals.structure import AtomicStructure

Model = Literal["eam", "emt", "chgnet"]
_LEAST_FORCE = {"emt": 1e-3, "chgnet": 5e-3}
"""eV/A. CHGNet computes with single precision."""
_MOST_STEPS = 500
_CHGNET = "0.3.0"
_EMT_METALS = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt")
"""ASE has parameters for H, C, N and O as well, for adsorbates alone."""


def lack_of(model: Model) -> str | None:
    """What has to be installed for a model; None if nothing has."""
    extra = {"eam": ("lammps", "potentials"), "chgnet": ("chgnet", "universal")}
    if model not in extra or find_spec(extra[model][0]) is not None:
        return None
    module, name = extra[model]
    return f'{module} is not installed: pip install "defectpdf[{name}]"'


def about(model: Model) -> str:
    """Which potentials a model has, to be known again."""
    if model == "eam":
        every = (f"{one.file} (SHA-256 {one.sha256})" for one in lammps_eam.POTENTIALS)
        return f"embedded-atom potentials of LAMMPS: {', '.join(every)}"
    return f"CHGNet {_CHGNET}" if model == "chgnet" else "effective medium theory of ASE"


def relax(structure: AtomicStructure, model: Model, device: str = "cpu") -> RelaxedStructure:
    """The nearest state of least energy, cell included.

    Raises:
        ValueError: the model has no potential for its atoms.
        ModuleNotFoundError: the model is not installed.
    """
    if model == "eam":
        return lammps_eam.relax_by_eam(structure)
    from ase import Atoms
    from ase.filters import FrechetCellFilter
    from ase.optimize import LBFGS

    atoms = Atoms(
        structure.elements.tolist(),
        scaled_positions=structure.frac,
        cell=structure.lattice,
        pbc=True,
    )
    atoms.calc = _emt(structure) if model == "emt" else _chgnet(device)
    # By default ASE weighs the cell so little that it hardly moves in a crystal of many atoms.
    cell = FrechetCellFilter(atoms, exp_cell_factor=len(atoms) / 10)
    optimizer = LBFGS(cell, logfile=None)  # type: ignore[arg-type]  # as ASE documents
    optimizer.run(fmax=_LEAST_FORCE[model], steps=_MOST_STEPS)
    force = float(np.abs(atoms.get_forces()).max())
    left = float(np.linalg.norm(cell.get_forces(), axis=1).max())
    relaxed = AtomicStructure(
        np.asarray(atoms.cell),
        atoms.get_scaled_positions(wrap=False),
        structure.elements,
        structure.uiso,
        structure.occupancy,
    )
    energy = float(atoms.get_potential_energy())
    return RelaxedStructure(relaxed, energy, force, optimizer.nsteps, left <= _LEAST_FORCE[model])


def _emt(structure: AtomicStructure) -> Any:
    from ase.calculators.emt import EMT

    unknown = sorted(set(structure.elements.tolist()) - set(_EMT_METALS))
    if unknown:
        known = ", ".join(_EMT_METALS)
        raise ValueError(f"no potential for {', '.join(unknown)}: emt has {known}")
    return EMT()


@lru_cache(maxsize=1)
def _chgnet(device: str) -> Any:
    from chgnet.model import CHGNet
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(CHGNet.load(model_name=_CHGNET, verbose=False), use_device=device)
