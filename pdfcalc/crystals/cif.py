"""One crystal as a CIF file describes it: cell, symmetry operations, atoms, displacements.

`cif_tags` splits the text, `cif_symmetry` finds the operations, `cif_atoms` the atoms,
`cif_displacements` how far they move, `symbols` which they are. Nothing here judges what the
crystal is.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pdfcalc.crystals.cif_atoms import Atom, atoms_of
from pdfcalc.crystals.cif_symmetry import NUMBER_TAGS, Operations, Symmetry, symmetry_of
from pdfcalc.crystals.cif_tags import Tags, decoded, given, number, structure_block
from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.crystals.symbols import element_of
from pdfcalc.reading import read_file

MERGE_TOLERANCE = 0.1
"""A; images of an atom nearer than this are one atom, at their mean position."""

LARGEST = 32 * 2**20
"""Bytes of a file; many hold the reflections that were measured."""

MAXIMUM_IMAGES = 50_000
"""Most atoms times symmetry operations that are expanded."""

MAXIMUM_TEMPERATURE = 5000.0
"""K; no metal is a crystal at ambient pressure above 3700 K, and few have been studied above."""

METRIC_ERROR = 0.02
"""Part of the squared lengths by which a cell may miss the symmetry of its group."""

COUNT_ERROR = 0.01
"""Part by which a formula may be off, as it is rounded."""

_TEMPERATURE_TAGS = (
    "_diffrn_ambient_temperature",
    "_diffrn_ambient_temp",
    "_cell_measurement_temperature",
    "_cell_measurement_temp",
)
_LENGTHS = tuple(f"_cell_length_{axis}" for axis in "abc")
_ANGLES = tuple(f"_cell_angle_{name}" for name in ("alpha", "beta", "gamma"))
_PRESSURE_TAGS = ("_diffrn_ambient_pressure", "_cell_measurement_pressure")


@dataclass(frozen=True)
class Description:
    """What the file says, before symmetry is applied."""

    lattice: np.ndarray
    """(3, 3) cell vectors as rows, A"""
    atoms: tuple[Atom, ...]
    symmetry: Symmetry
    formula: Mapping[str, float]
    """atoms of each element in a formula unit; empty where the file does not give them"""
    formula_units: float | None
    """in the cell, Z"""
    declared_group: int | None
    temperature: float | None
    """K"""
    pressure: float | None
    """GPa"""
    notes: tuple[str, ...]

    def stated_atoms(self, listed: Container[str]) -> tuple[float, ...]:
        """Numbers of atoms in the cell that formula and Z may mean, of the elements listed.

        pymatgen writes the atoms of the whole cell for the formula, and Z nevertheless.
        """
        of_formula = sum(n for name, n in self.formula.items() if element_of(name) in listed)
        units = self.formula_units or 0.0
        if not of_formula * units > 0:
            return ()
        is_of_cell = math.gcd(*map(round, self.formula.values())) % units == 0
        return (units * of_formula, of_formula) if is_of_cell else (units * of_formula,)


@dataclass(frozen=True)
class Crystal:
    """All atoms of the cell; `row` leads from each to its row in the file."""

    lattice: np.ndarray
    frac: np.ndarray
    row: np.ndarray
    notes: tuple[str, ...]


def read_atoms(
    path: str | os.PathLike[str],
    complete: Callable[[Description, Crystal], tuple[Sequence[float], Sequence[str]]],
) -> tuple[AtomicStructure, tuple[str, ...]]:
    """Read any crystal as a CIF file gives it, compounds and partial occupancies included.

    Anisotropic displacements become their mean, and occupancies above 1 become 1.

    Args:
        complete: gives the Uiso (A^2) of each listed atom, and what is to be said of them.

    Returns:
        The structure, and what was assumed of the file.

    Raises:
        ValueError: the file is unusable, or what `complete` raises; with the path before it.
    """
    try:
        description = describe(read_file(path, LARGEST))
        crystal = expand(description)
        uiso, notes = complete(description, crystal)
        atoms = [description.atoms[row] for row in crystal.row]
        structure = AtomicStructure(
            crystal.lattice,
            crystal.frac,
            [atom.element for atom in atoms],
            [uiso[row] for row in crystal.row],
            [min(atom.occupancy, 1.0) for atom in atoms],
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {reason(error)}") from error
    return structure, (*description.notes, *crystal.notes, *notes)


def reason(error: Exception) -> str:
    """What an error met in reading a file says to its user."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    if isinstance(error, ValueError):
        return str(error)
    return f"cannot be read as CIF: {type(error).__name__}: {error}"


def describe(content: bytes) -> Description:
    """Read a CIF file.

    Raises:
        ValueError: with the reason why the file describes no single crystal.
    """
    text, notes = decoded(content)
    tags = structure_block(text)
    lattice, cell_notes = _lattice(tags)
    formula = _formula(tags)
    atoms, atom_notes = atoms_of(tags, lattice, formula)
    symmetry = symmetry_of(tags)
    notes += [*cell_notes, *atom_notes, *symmetry.notes]
    pressure = _optional(tags, _PRESSURE_TAGS, notes)
    temperature = _optional(tags, _TEMPERATURE_TAGS, notes)
    if temperature is not None and not 0 < temperature <= MAXIMUM_TEMPERATURE:
        notes.append(f"temperature of {temperature:g} K ignored")
        temperature = None
    declared = _optional(tags, NUMBER_TAGS, notes)
    return Description(
        lattice=lattice,
        atoms=atoms,
        symmetry=symmetry,
        formula=formula,
        formula_units=_optional(tags, ("_cell_formula_units_z",), notes),
        declared_group=None if declared is None else int(declared),
        temperature=temperature,
        pressure=None if pressure is None or pressure < 0 else pressure * 1e-6,
        notes=tuple(notes),
    )


def _optional(tags: Tags, names: tuple[str, ...], notes: list[str]) -> float | None:
    """A number that can be done without; what is none is noted."""
    if (found := given(tags, names)) is None:
        return None
    try:
        return number(found[1], found[0])
    except ValueError as error:
        notes.append(f"{error}; ignored")
        return None


def expand(description: Description) -> Crystal:
    """Apply the symmetry operations; atoms given more than once are merged.

    Raises:
        ValueError: too many atoms, the cell does not have the symmetry, formula and Z need more
            atoms, or a file without operations leaves its origin open.
    """
    symmetry = description.symmetry
    settings = [s for s in symmetry.settings if _is_kept_by(description.lattice, s[0])]
    # Of listed operations and the fuller ones of the group named, the cell must have both.
    least = min(2, len(symmetry.settings)) if symmetry.are_listed else 1
    if len(settings) < least:
        raise ValueError(
            "the cell's lengths and angles do not have the symmetry of its space group"
        )
    crystals = [_expanded(description, setting) for setting in settings]
    first, *others = crystals
    if not others or (symmetry.are_listed and all(len(c.row) == len(first.row) for c in others)):
        excess = _excess(first, description)
        if excess > 1 and excess.is_integer():
            raise ValueError(
                f"formula and Z need {excess:g} times the {len(first.row)} atoms that the symmetry "
                "operations make: list all operations, or correct Z"
            )
        return first
    fitting = [crystal for crystal in crystals if _excess(crystal, description) == 1]
    if len(fitting) != 1 and symmetry.are_listed:
        counts = " or ".join(f"{len(crystal.row)}" for crystal in crystals)
        raise ValueError(
            "the symmetry operations listed are not all of the space group named, and formula and "
            f"Z do not tell whether the cell has {counts} atoms: list all operations"
        )
    if len(fitting) != 1:
        raise ValueError(
            "the file names its space group but not which of its settings (origin choice, axes) "
            "it uses: add the symmetry operations"
        )
    if symmetry.are_listed and fitting[0] is not first:
        note = "the symmetry operations listed are not all of the space group named: its own used"
        return replace(fitting[0], notes=(*fitting[0].notes, note))
    return fitting[0]


def _is_kept_by(lattice: np.ndarray, rotations: np.ndarray) -> bool:
    """Whether rotations (n, 3, 3) of fractional coordinates leave all lengths and angles."""
    metric = lattice @ lattice.T
    turned = rotations.transpose(0, 2, 1) @ metric @ rotations
    return bool(np.abs(turned - metric).max() < METRIC_ERROR * metric.max())


def _excess(crystal: Crystal, description: Description) -> float:
    """How many times the atoms of the cell formula and Z need; 0 where they do not tell.

    Elements that are not listed don't count: hydrogen often is not.
    """
    stated = description.stated_atoms({element_of(atom.element) for atom in description.atoms})
    found = sum(description.atoms[row].occupancy for row in crystal.row)
    ratio = min((n / found for n in stated), key=lambda ratio: abs(ratio - 1), default=0.0)
    whole = float(max(round(ratio), 1))
    return whole if abs(ratio - whole) < COUNT_ERROR * whole else ratio


def _expanded(description: Description, operations: Operations) -> Crystal:
    lattice, atoms = description.lattice, description.atoms
    rotations, shifts = operations
    if len(atoms) * len(rotations) > MAXIMUM_IMAGES:
        raise ValueError(f"too large: {len(atoms)} atoms under {len(rotations)} operations")
    elements = np.array([atom.element for atom in atoms])
    frac, row, duplicates = np.empty((0, 3)), np.empty(0, int), []
    for i, atom in enumerate(atoms):
        orbit = _merged(lattice, rotations @ atom.frac + shifts)
        alike = frac[elements[row] == atom.element]
        fresh = np.array([not _near(lattice, alike, point).any() for point in orbit])
        # Atoms that share a place are one atom in full, or the parts of a disordered one.
        if atom.occupancy > 0.99 and not fresh.all():
            orbit = orbit[fresh]
            duplicates.append(atom.label)
        frac, row = np.concatenate([frac, orbit]), np.append(row, np.full(len(orbit), i))
    notes = [f"atoms given more than once merged: {', '.join(duplicates)}"] if duplicates else []
    return Crystal(lattice, frac % 1.0, row, tuple(notes))


def _near(lattice: np.ndarray, points: np.ndarray, point: np.ndarray) -> np.ndarray:
    difference = points - point
    return np.linalg.norm((difference - np.rint(difference)) @ lattice, axis=1) < MERGE_TOLERANCE


def _merged(lattice: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The distinct ones of an atom's images; the mean undoes the rounding of special positions."""
    distinct = []
    while len(images):
        near = _near(lattice, images, images[0])
        difference = images[near] - images[0]
        distinct.append(images[0] + (difference - np.rint(difference)).mean(axis=0))
        images = images[~near]
    return np.array(distinct)


def _lattice(tags: Tags) -> tuple[np.ndarray, list[str]]:
    from pymatgen.core import Lattice

    found = {tag: given(tags, (tag,)) for tag in (*_LENGTHS, *_ANGLES)}
    values = {tag: number(said[1], said[0]) for tag, said in found.items() if said}
    notes = [f"{tag} is not given: 90 degrees" for tag in _ANGLES if tag not in values]
    lengths = [value for tag in _LENGTHS if (value := values.get(tag)) is not None]
    angles = [values.get(tag) or 90.0 for tag in _ANGLES]
    if len(lengths) != 3:
        raise ValueError("cell lengths are missing")
    if not (all(0.5 < x < 1000 for x in lengths) and all(5 < x < 175 for x in angles)):
        raise ValueError(f"absurd cell: lengths {lengths} A, angles {angles} degrees")
    lattice = np.array(Lattice.from_parameters(*lengths, *angles).matrix)
    if not np.linalg.det(lattice) > 0.05 * math.prod(lengths):
        raise ValueError(f"absurd cell: angles {angles} degrees span no volume")
    return lattice, notes


def _formula(tags: Tags) -> dict[str, float]:
    """Atoms of each element in a formula unit; none of a formula that is not understood."""
    (_, text) = given(tags, ("_chemical_formula_sum",)) or ("", "")
    if not re.fullmatch(r"(\s*[A-Z][a-z]?(\d+\.?\d*|\.\d+)?)+\s*", text):
        return {}
    parts = re.findall(r"([A-Z][a-z]?)([\d.]*)", text)
    return {element: float(count or 1) for element, count in parts}
