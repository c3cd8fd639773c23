"""Structures of other packages, and CIF files, as plain arrays.

Who made an object has imported its package; only reading a CIF file imports gemmi and pymatgen.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pdfcalc.crystals.cif_displacements import is_anisotropic, note_on_anisotropy
from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.crystals.symbols import element_of, isotope_of_mass, read_symbol

Uiso = float | Mapping[str, float] | None


class _Read(NamedTuple):
    """What a package's structure holds; an atom is (symbol, position, Uiso or none, occupancy)."""

    lattice: np.ndarray
    periodic: tuple[bool, ...]
    atoms: list[tuple[str, np.ndarray, float | None, float]]
    anisotropic: Sequence[str] = ()


def as_structure(source: object, uiso: Uiso = None) -> AtomicStructure:
    """The atoms of another package's structure, or of a CIF file.

    Sites that several elements share become one atom of each, with its occupancy. Charges are left
    out, isotopes are kept (`pdfcalc.crystals.symbols.read_symbol`). Anisotropic displacements
    become their mean, and vacancies and dummies are left out, with a warning, as has what else a
    CIF file makes assume.

    Args:
        source: an AtomicStructure, which comes back as it is; the path of a CIF file; a Structure
            of pymatgen (Uiso from the site property "U_iso_or_equiv"); Atoms of ASE, periodic in
            all directions or in none (Uiso from the array "uiso", isotopes from masses); or a
            Structure of diffpy.structure, a particle if its lattice is a unit cube.
        uiso: mean-square displacement in A^2, one number or one by element, of atoms without it.

    Raises:
        ValueError: an atom has no Uiso or is no element, the boundaries are mixed, or the source
            is none of these.
    """
    if isinstance(source, AtomicStructure):
        return source
    if isinstance(source, (str, os.PathLike)):
        from pdfcalc.crystals.cif import Crystal, Description, read_atoms

        def complete(file: Description, _: Crystal) -> tuple[list[float], list[str]]:
            elements = [atom.element for atom in file.atoms]
            return _completed([atom.moves.uiso for atom in file.atoms], elements, uiso), []

        structure, said = read_atoms(source, complete)
        _warn(os.fspath(source), said)
        return structure
    read = _reader(source)(source)
    if len(set(read.periodic)) > 1:
        raise ValueError(
            f"the structure is periodic in some directions only, {read.periodic}: "
            "make it periodic in all or in none"
        )
    symbols = [read_symbol(symbol) for symbol, *_ in read.atoms]
    atoms = [
        (symbol, *rest)
        for symbol, (_, *rest) in zip(symbols, read.atoms, strict=True)
        if symbol is not None
    ]
    elements, positions, own, occupancy = zip(*atoms, strict=True) if atoms else [()] * 4
    structure = AtomicStructure(
        read.lattice,
        positions,
        elements,
        _completed(own, elements, uiso),
        occupancy,
        periodic=all(read.periodic),
    )
    notes = [note_on_anisotropy(read.anisotropic)] if read.anisotropic else []
    if n_left_out := symbols.count(None):
        notes.append(f"sites of vacancies or dummies left out: {n_left_out}")
    _warn(getattr(source, "title", "") or "the structure", notes)
    return structure


def _completed(own: Sequence[float | None], elements: Sequence[str], uiso: Uiso) -> list[float]:
    """Uiso of each atom: its own, or what is given."""
    given = uiso if isinstance(uiso, Mapping) else dict.fromkeys(elements, uiso)
    result = [
        value or given.get(element) or given.get(element_of(element))
        for value, element in zip(own, elements, strict=True)
    ]
    if lacking := [e for e, value in zip(elements, result, strict=True) if not value]:
        names = ", ".join(dict.fromkeys(lacking))
        raise ValueError(
            f"no Uiso of {names}: give it to as_structure, uiso=0.005 (A^2) for all elements or "
            f"uiso={{{lacking[0]!r}: 0.005}}"
        )
    return [float(value) for value in result if value]


def _warn(source: str, notes: Sequence[str]) -> None:
    for note in notes:
        warnings.warn(f"{source}: {note}", stacklevel=3)


def _reader(source: object):
    readers = {"pymatgen": _from_pymatgen, "ase": _from_ase, "diffpy": _from_diffpy}
    packages = [cls.__module__.split(".")[0] for cls in type(source).__mro__]
    reader = next((readers[package] for package in packages if package in readers), None)
    if reader is None or not hasattr(source, "lattice" if reader is not _from_ase else "cell"):
        raise ValueError(
            f"{type(source).__module__}.{type(source).__name__} is no structure: give an "
            "AtomicStructure, the path of a CIF file, Atoms of ASE, or a Structure of pymatgen or "
            "diffpy.structure"
        )
    return reader


def _from_pymatgen(structure: Any) -> _Read:
    atoms = [
        # Named isotopes have the symbol of their element; dummies have no other name.
        (getattr(getattr(part, "element", part), "name", part.symbol), *place, occupancy)
        for site in structure
        for place in [(site.frac_coords, site.properties.get("U_iso_or_equiv"))]
        for part, occupancy in site.species.items()
    ]
    return _Read(structure.lattice.matrix, tuple(map(bool, structure.lattice.pbc)), atoms)


def _from_ase(structure: Any) -> _Read:
    periodic = tuple(map(bool, structure.pbc))
    lattice = np.asarray(structure.cell) if all(periodic) else np.eye(3)
    positions = structure.get_scaled_positions(wrap=False) if all(periodic) else structure.positions
    symbols = isotopes = structure.get_chemical_symbols()
    if structure.has("masses"):
        isotopes = list(map(isotope_of_mass, symbols, structure.get_masses().tolist()))
    none = [None] * len(symbols)
    # ASE keeps shared and partly filled sites by kind, under the element that most fills them.
    kinds = structure.arrays.get("spacegroup_kinds", none)
    parts = {str(kind): of for kind, of in structure.info.get("occupancy", {}).items()}
    atoms = [
        (isotope if part == symbol else part, position, uiso, occupancy)
        for symbol, isotope, position, uiso, kind in zip(
            symbols, isotopes, positions, structure.arrays.get("uiso", none), kinds, strict=True
        )
        for part, occupancy in parts.get(str(kind), {symbol: 1.0}).items()
    ]
    return _Read(lattice, periodic, atoms)


def _from_diffpy(structure: Any) -> _Read:
    lattice = structure.lattice
    particle = np.allclose(lattice.base @ lattice.base.T, np.eye(3))
    to_cartesian = lattice.normbase
    anisotropic = [
        atom.label or atom.element
        for atom in structure
        if atom.anisotropy and is_anisotropic(to_cartesian.T @ atom.U @ to_cartesian)
    ]
    atoms = [(atom.element, atom.xyz, atom.Uisoequiv, atom.occupancy) for atom in structure]
    return _Read(lattice.base, (not particle,) * 3, atoms, anisotropic)
