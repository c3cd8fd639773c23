"""The list of atoms of a CIF file: which they are, where, how often and how far they move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pdfcalc.crystals.cif_displacements import (
    UISO_RANGE,
    Displacement,
    displacements,
    first_of,
    note_on_anisotropy,
)
from pdfcalc.crystals.cif_tags import Tags, column, coordinate, number
from pdfcalc.crystals.symbols import element_of, read_label, read_symbol

MAXIMUM_ATOMS = 50_000
"""That are listed."""

MAXIMUM_COORDINATE = 1e3
"""Fractional; beyond it a number has lost the digits that say where in the cell the atom is."""

OCCUPANCY_ERROR = 0.05
"""By which an occupancy may exceed 1, as refined ones do by their uncertainty."""

_COLUMNS = ("type_symbol", "occupancy", "calc_flag", "u_iso_or_equiv", "b_iso_or_equiv")


@dataclass(frozen=True)
class Atom:
    """One row of the file's list of atoms."""

    label: str
    element: str
    frac: np.ndarray
    occupancy: float
    moves: Displacement


def atoms_of(
    tags: Tags, lattice: np.ndarray, formula: Mapping[str, float]
) -> tuple[tuple[Atom, ...], list[str]]:
    """The listed atoms, and what was left out or read as something else.

    Args:
        lattice: (3, 3) cell vectors as rows, A.
        formula: elements of the crystal, which tell what a label means.

    Raises:
        ValueError: a row is not understood, or none is an atom.
    """
    labels = column(tags, "_atom_site_label") or column(tags, "_atom_site_type_symbol")
    _require_rows(tags, len(labels))
    types, flags = (
        column(tags, f"_atom_site_{name}") or [None] * len(labels)
        for name in ("type_symbol", "calc_flag")
    )
    moving = displacements(tags, lattice, labels)
    atoms, renamed, no_atoms, empty = [], {}, [], []
    for i, given_label in enumerate(labels):
        label = given_label or f"number {i + 1}"
        symbol = types[i] or label
        element = None
        if (flags[i] or "").lower() != "dum":
            element = read_symbol(symbol, formula) if types[i] else read_label(symbol, formula)
        if element is None:
            no_atoms.append(label)
            continue
        if symbol != element if types[i] else not _begins_with(symbol, element):
            renamed[symbol] = element
        occupancy = _occupancy(tags, i, label)
        if occupancy == 0:
            empty.append(label)
            continue
        atoms.append(Atom(label, element, _place(tags, i, label), occupancy, moving[i]))
    if not atoms:
        raise ValueError("no atoms: all sites have occupancy 0 or are vacancies")
    notes = [f"{symbol!r} read as {element}" for symbol, element in renamed.items()]
    if no_atoms:
        notes.append(f"left out, as vacancies or dummies: {first_of(no_atoms)}")
    if empty:
        notes.append(f"left out, as their occupancy is 0: {first_of(empty)}")
    return tuple(atoms), notes + _doubts(atoms, formula)


def _require_rows(tags: Tags, n: int) -> None:
    if n > MAXIMUM_ATOMS:
        raise ValueError(f"too large: {n} atoms")
    coordinates = [column(tags, f"_atom_site_fract_{axis}") for axis in "xyz"]
    if n == 0 or {len(values) for values in coordinates} != {n}:
        raise ValueError("the list of atoms lacks labels or fractional coordinates")
    for name in _COLUMNS:
        if len(values := column(tags, f"_atom_site_{name}")) not in (0, n):
            raise ValueError(f"_atom_site_{name} has {len(values)} values for {n} atoms")


def _begins_with(label: str, element: str) -> bool:
    return label.upper().startswith(element_of(element).upper())


def _place(tags: Tags, row: int, label: str) -> np.ndarray:
    names = [f"_atom_site_fract_{axis}" for axis in "xyz"]
    place = [coordinate(column(tags, name)[row], f"{name} of {label}") for name in names]
    if None in place or np.abs(np.array(place)).max() > MAXIMUM_COORDINATE:
        raise ValueError(f"atom {label!r} has no usable coordinates")
    return np.array(place, float)


def _occupancy(tags: Tags, row: int, label: str) -> float:
    """1 where it is not given."""
    values = column(tags, "_atom_site_occupancy")
    found = number(values[row], f"_atom_site_occupancy of {label}") if values else None
    if found is not None and found < 0:
        raise ValueError(f"_atom_site_occupancy of {label} {found:g} is negative")
    return 1.0 if found is None else found


def _doubts(atoms: Sequence[Atom], formula: Mapping[str, float]) -> list[str]:
    """What is not taken as it is written, and what disagrees with the formula."""
    strangers = {element_of(atom.element) for atom in atoms} - set(map(element_of, formula))
    notes = [f"{', '.join(sorted(strangers))} not in the formula"] if strangers and formula else []
    if unusable := [
        f"{atom.label} ({atom.moves.left_out:.4g} A^2)"
        for atom in atoms
        if atom.moves.left_out is not None
    ]:
        low, high = UISO_RANGE
        notes.append(f"Uiso of {first_of(unusable)} left out: not in {low:g} to {high:g} A^2")
    if labels := [atom.label for atom in atoms if atom.moves.anisotropic]:
        notes.append(note_on_anisotropy(labels))
    if labels := [atom.label for atom in atoms if atom.occupancy > 1 + OCCUPANCY_ERROR]:
        notes.append(f"occupancies above 1 taken for 1: {first_of(labels)}")
    return notes
