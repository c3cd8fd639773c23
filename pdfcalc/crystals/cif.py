"""One crystal as a CIF file describes it: cell, symmetry operations, atoms, displacements.

`pdfcalc.crystals.cif_tags` splits the text, `pdfcalc.crystals.cif_symmetry` finds the operations.
Nothing here judges what the crystal is.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pdfcalc.crystals.cif_symmetry import AS_LISTED, NUMBER_TAGS, settings_of
from pdfcalc.crystals.cif_tags import (
    Tags,
    column,
    decoded,
    first_number,
    number,
    structure_block,
)
from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.reading import read_file

MERGE_TOLERANCE = 0.1
"""A; images of an atom nearer than this are one atom, at their mean position."""

MAXIMUM_IMAGES = 50_000
"""Most atoms times symmetry operations that are expanded."""

MAXIMUM_COORDINATE = 1e3
"""Fractional; beyond it a number has lost the digits that say where in the cell the atom is."""

MAXIMUM_TEMPERATURE = 5000.0
"""K; no metal is a crystal at ambient pressure above 3700 K, and few have been studied above."""

UISO_RANGE = (1e-4, 0.5)
"""A^2; displacements outside are taken for absent. Zero-point motion exceeds the lower end."""

ANISOTROPY = 0.01
"""Part of Uiso by which a tensor must differ from it to be called anisotropic, not rounded."""

OCCUPANCY_ERROR = 0.05
"""By which an occupancy may exceed 1, as refined ones do by their uncertainty."""

_B_TO_U = 1 / (8 * math.pi**2)
_TEMPERATURE_TAGS = (
    "_diffrn_ambient_temperature",
    "_diffrn_ambient_temp",
    "_cell_measurement_temperature",
    "_cell_measurement_temp",
)
_PRESSURE_TAGS = ("_diffrn_ambient_pressure", "_cell_measurement_pressure")


@dataclass(frozen=True)
class Atom:
    """One row of the file's list of atoms."""

    label: str
    element: str
    frac: np.ndarray
    occupancy: float
    uiso: float | None
    """A^2; None where the file gives none that is usable"""
    anisotropic: bool
    """whether the file's tensor, of which `uiso` is the mean, differs from a sphere"""


@dataclass(frozen=True)
class Description:
    """What the file says, before symmetry is applied."""

    lattice: np.ndarray
    """(3, 3) cell vectors as rows, A"""
    atoms: tuple[Atom, ...]
    settings: tuple[tuple[np.ndarray, np.ndarray], ...]
    """rotations (n, 3, 3) and translations (n, 3) of each setting that the file may mean"""
    atoms_per_cell: float | None
    """from the formula and the number of formula units"""
    declared_group: int | None
    temperature: float | None
    """K"""
    pressure: float | None
    """GPa"""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Crystal:
    """All atoms of the cell; `row` leads from each to its row in the file."""

    lattice: np.ndarray
    frac: np.ndarray
    row: np.ndarray
    notes: tuple[str, ...]


def read_atoms(
    path: str | os.PathLike[str], missing_uiso: Callable[[Description, Atom], float]
) -> AtomicStructure:
    """Read any crystal as a CIF file gives it, compounds and partial occupancies included.

    Anisotropic displacements become their mean, atoms without symmetry operations the whole cell,
    and occupancies above 1 become 1, with a warning each (of occupancies beyond OCCUPANCY_ERROR).

    Args:
        missing_uiso: gives the Uiso (A^2) of an atom that has none in the file.

    Raises:
        ValueError: the file is unusable, or what `missing_uiso` raises; with the path before it.
    """
    path = Path(path)
    try:
        content = read_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            description = describe(content)
            crystal = expand(description)
        uiso = [
            missing_uiso(description, atom) if atom.uiso is None else atom.uiso
            for atom in description.atoms
        ]
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
    for doubt in _doubts(description):
        warnings.warn(f"{path}: {doubt}", stacklevel=2)
    warn_of_anisotropy(str(path), [atom.label for atom in description.atoms if atom.anisotropic])
    return structure


def _doubts(description: Description) -> Iterator[str]:
    """What was assumed and makes another crystal of the file if it is wrong."""
    if AS_LISTED in description.notes:
        yield AS_LISTED
    if labels := [a.label for a in description.atoms if a.occupancy > 1 + OCCUPANCY_ERROR]:
        yield f"occupancies above 1 taken for 1: {_first_of(labels)}"


def _first_of(labels: list[str]) -> str:
    return ", ".join(labels[:5]) + ", ..." * (len(labels) > 5)


def warn_of_anisotropy(source: str, atoms: list[str]) -> None:
    """Say of which atoms only the mean displacement is used, if of any."""
    if atoms:
        warnings.warn(
            f"{source}: anisotropic displacements of {_first_of(atoms)} are reduced to their mean",
            stacklevel=3,
        )


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
    lattice = _lattice(tags)
    atoms, atom_notes = _atoms(tags, lattice)
    settings, setting_notes = settings_of(tags)
    pressure = first_number(tags, _PRESSURE_TAGS)
    temperature = first_number(tags, _TEMPERATURE_TAGS)
    if temperature is not None and not 0 < temperature <= MAXIMUM_TEMPERATURE:
        notes.append(f"temperature of {temperature:g} K ignored")
        temperature = None
    declared = first_number(tags, NUMBER_TAGS)
    return Description(
        lattice=lattice,
        atoms=atoms,
        settings=settings,
        atoms_per_cell=_atoms_per_cell(tags),
        declared_group=None if declared is None else int(declared),
        temperature=temperature,
        pressure=None if pressure is None or pressure < 0 else pressure * 1e-6,
        notes=tuple(notes + atom_notes + setting_notes),
    )


def expand(description: Description) -> Crystal:
    """Apply the symmetry operations; atoms given more than once are merged.

    Raises:
        ValueError: too many atoms, or a file without operations leaves its origin open.
    """
    crystals = [_expanded(description, *setting) for setting in description.settings]
    if len(crystals) > 1:
        expected = description.atoms_per_cell
        crystals = [c for c in crystals if len(c.frac) == expected]
    if len(crystals) != 1:
        raise ValueError(
            "the file names its space group but not which of its settings (origin choice, axes) "
            "it uses: add the symmetry operations"
        )
    return crystals[0]


def _expanded(description: Description, rotations: np.ndarray, shifts: np.ndarray) -> Crystal:
    lattice, atoms = description.lattice, description.atoms
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


def _atoms(tags: Tags, lattice: np.ndarray) -> tuple[tuple[Atom, ...], list[str]]:
    """The listed atoms, and the type symbols that were not plain elements."""
    labels = column(tags, "_atom_site_label") or column(tags, "_atom_site_type_symbol")
    types = column(tags, "_atom_site_type_symbol") or labels
    occupancies = column(tags, "_atom_site_occupancy") or ["1"] * len(labels)
    coordinates = [column(tags, f"_atom_site_fract_{axis}") for axis in "xyz"]
    if not labels or {len(c) for c in (types, occupancies, *coordinates)} != {len(labels)}:
        raise ValueError("the list of atoms lacks labels or fractional coordinates")
    if len(labels) > MAXIMUM_IMAGES:
        raise ValueError(f"too large: {len(labels)} atoms")
    tensors = _tensors(tags, lattice)
    displacements = _displacements(tags, tensors, labels)
    atoms, renamed, empty = [], {}, []
    for i, label in enumerate(labels):
        element = _element(types[i]) or _element(label)
        if element is None:
            raise ValueError(f"atom {label!r}: no element is called {types[i]!r}")
        if types is not labels and types[i] != element:
            renamed[types[i]] = element
        position = [number(column[i]) for column in coordinates]
        if None in position or np.abs(np.array(position)).max() > MAXIMUM_COORDINATE:
            raise ValueError(f"atom {label!r} has no usable coordinates")
        occupancy = number(occupancies[i])
        if occupancy == 0:
            empty.append(label)
            continue
        full = 1.0 if occupancy is None else occupancy
        anisotropic = any(map(is_anisotropic, tensors.get(label, [])))
        atoms.append(
            Atom(label, element, np.array(position, float), full, displacements[i], anisotropic)
        )
    if not atoms:
        raise ValueError("no atoms: all sites have occupancy 0")
    notes = [f"{symbol!r} read as {element}" for symbol, element in renamed.items()]
    return tuple(atoms), notes + [f"{label} left out: its occupancy is 0" for label in empty]


def _lattice(tags: Tags) -> np.ndarray:
    from pymatgen.core import Lattice

    names = [f"_cell_length_{axis}" for axis in "abc"]
    names += [f"_cell_angle_{name}" for name in ("alpha", "beta", "gamma")]
    values = [x for name in names if (x := first_number(tags, (name,))) is not None]
    lengths, angles = values[:3], values[3:]
    if len(values) != 6:
        raise ValueError("cell lengths or angles are missing or not numbers")
    if not (all(0.5 < x < 1000 for x in lengths) and all(5 < x < 175 for x in angles)):
        raise ValueError(f"absurd cell: lengths {lengths} A, angles {angles} degrees")
    lattice = np.array(Lattice.from_parameters(*lengths, *angles).matrix)
    if not np.linalg.det(lattice) > 0.05 * math.prod(lengths):
        raise ValueError(f"absurd cell: angles {angles} degrees span no volume")
    return lattice


def _element(symbol: str) -> str | None:
    """Element of a type symbol or label, such as Zr1+, Fe3+, Ni1, D or NI_a."""
    from pymatgen.core import Element

    letters = re.match(r"\d*([A-Za-z]{1,2})", symbol)
    if not letters:
        return None
    candidates = (letters[1].capitalize(), letters[1][0].upper())
    return next((c for c in candidates if Element.is_valid_symbol(c)), None)


def _displacements(
    tags: Tags, tensors: Mapping[str, list[np.ndarray]], labels: list[str]
) -> list[float | None]:
    """Isotropic displacement (A^2) of each atom, from the first usable of U, B and tensors."""
    isotropic = [
        (column(tags, "_atom_site_u_iso_or_equiv"), 1.0),
        (column(tags, "_atom_site_b_iso_or_equiv"), _B_TO_U),
    ]
    result = []
    for i, label in enumerate(labels):
        values = [number(column[i]) for column, _ in isotropic if i < len(column)]
        scales = [scale for column, scale in isotropic if i < len(column)]
        candidates = [v * s for v, s in zip(values, scales, strict=True) if v is not None]
        candidates += [float(np.trace(tensor)) / 3 for tensor in tensors.get(label, [])]
        low, high = UISO_RANGE
        result.append(next((u for u in candidates if low <= u <= high), None))
    return result


def is_anisotropic(tensor: np.ndarray) -> bool:
    """Whether a Cartesian displacement tensor (3, 3) is more than a rounded sphere."""
    mean = np.trace(tensor) / 3
    return bool(np.abs(tensor - mean * np.eye(3)).max() > ANISOTROPY * abs(mean))


def _tensors(tags: Tags, lattice: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Cartesian displacement tensors (3, 3) by label, A^2; a third of the trace is U_eq.

    Fischer & Tillmanns (1988), Acta Cryst. C44, 775, https://doi.org/10.1107/S0108270187012745.
    """
    reciprocal = np.linalg.norm(np.linalg.inv(lattice), axis=0)
    to_cartesian = reciprocal[:, None] * lattice
    result = defaultdict(list)
    for kind, scale in (("u", 1.0), ("b", _B_TO_U)):
        names = [f"_atom_site_aniso_{kind}_{ij}" for ij in ("11", "22", "33", "12", "13", "23")]
        columns = [column(tags, name) for name in ("_atom_site_aniso_label", *names)]
        rows = zip(*columns, strict=True) if all(columns) else ()
        for label, *components in rows:
            values = [number(value) for value in components]
            if None not in values:
                xx, yy, zz, xy, xz, yz = values
                tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
                result[label].append(to_cartesian.T @ tensor @ to_cartesian * scale)
    return result


def _atoms_per_cell(tags: Tags) -> float | None:
    units = first_number(tags, ("_cell_formula_units_z",))
    formula = " ".join(column(tags, "_chemical_formula_sum")[:1])
    counts = re.findall(r"[A-Z][a-z]?([\d.]*)", formula)
    if units is None or not counts:
        return None
    return units * sum(number(count) or 1.0 for count in counts)
