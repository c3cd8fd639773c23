"""Structures of other packages, and CIF files, as plain arrays.

Who made an object has imported its package; only reading a CIF file imports one, pymatgen.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pdfcalc.crystals.structure import AtomicStructure

Uiso = float | Mapping[str, float] | None


class _Read(NamedTuple):
    """What a package's structure holds; an atom is (label, position, Uiso or none, occupancy)."""

    lattice: np.ndarray
    periodic: tuple[bool, ...]
    atoms: list[tuple[str, np.ndarray, float | None, float]]


def as_structure(source: object, uiso: Uiso = None) -> AtomicStructure:
    """The atoms of another package's structure, or of a CIF file.

    Sites that several elements share become one atom of each, with its occupancy. Anisotropic
    displacements become their mean, with a warning, as has what else a CIF file makes assume.

    Args:
        source: an AtomicStructure, which comes back as it is; the path of a CIF file; a Structure
            of pymatgen (Uiso from the site property "U_iso_or_equiv", oxidation states left out);
            Atoms of ASE, periodic in all directions or in none (Uiso from the array "uiso"); or a
            Structure of diffpy.structure, a particle if its lattice is a unit cube.
        uiso: mean-square displacement in A^2, one number or one by element, of atoms without it.

    Raises:
        ValueError: an atom has no Uiso, the boundaries are mixed, or the source is none of these.
    """
    if isinstance(source, AtomicStructure):
        return source
    if isinstance(source, (str, os.PathLike)):
        from pdfcalc.crystals.cif import read_atoms

        return read_atoms(source, lambda _, atom: _given(uiso, atom.element))
    readers = {"pymatgen": _from_pymatgen, "ase": _from_ase, "diffpy": _from_diffpy}
    packages = [cls.__module__.split(".")[0] for cls in type(source).__mro__]
    reader = next((readers[package] for package in packages if package in readers), None)
    if reader is None or not hasattr(source, "lattice" if reader is not _from_ase else "cell"):
        raise ValueError(
            f"{type(source).__module__}.{type(source).__name__} is no structure: give an "
            "AtomicStructure, the path of a CIF file, Atoms of ASE, or a Structure of pymatgen or "
            "diffpy.structure"
        )
    read = reader(source)
    if len(set(read.periodic)) > 1:
        raise ValueError(
            f"the structure is periodic in some directions only, {read.periodic}: "
            "make it periodic in all or in none"
        )
    labels, positions, own, occupancy = zip(*read.atoms, strict=True) if read.atoms else [()] * 4
    displacements = [u or _given(uiso, label) for label, u in zip(labels, own, strict=True)]
    return AtomicStructure(
        read.lattice, positions, labels, displacements, occupancy, periodic=all(read.periodic)
    )


def _given(uiso: Uiso, element: str) -> float:
    value = uiso.get(element) if isinstance(uiso, Mapping) else uiso
    if value is None:
        raise ValueError(
            f"no Uiso of {element}: give it to as_structure, uiso=0.005 (A^2) for all elements or "
            f"uiso={{{element!r}: 0.005}}"
        )
    return value


def _from_pymatgen(structure: Any) -> _Read:
    atoms = [
        (part.symbol, site.frac_coords, site.properties.get("U_iso_or_equiv"), occupancy)
        for site in structure
        for part, occupancy in site.species.items()
    ]
    return _Read(structure.lattice.matrix, tuple(map(bool, structure.lattice.pbc)), atoms)


def _from_ase(structure: Any) -> _Read:
    periodic = tuple(map(bool, structure.pbc))
    lattice = np.asarray(structure.cell) if all(periodic) else np.eye(3)
    positions = structure.get_scaled_positions(wrap=False) if all(periodic) else structure.positions
    symbols = structure.get_chemical_symbols()
    none = [None] * len(symbols)
    # ASE keeps shared and partly filled sites by kind, under the element that most fills them.
    kinds = structure.arrays.get("spacegroup_kinds", none)
    parts = structure.info.get("occupancy", {})
    atoms = [
        (part, position, uiso, occupancy)
        for symbol, position, uiso, kind in zip(
            symbols, positions, structure.arrays.get("uiso", none), kinds, strict=True
        )
        for part, occupancy in parts.get(str(kind), {symbol: 1.0}).items()
    ]
    return _Read(lattice, periodic, atoms)


def _from_diffpy(structure: Any) -> _Read:
    from pdfcalc.crystals.cif import is_anisotropic, warn_of_anisotropy

    lattice = structure.lattice
    particle = np.allclose(lattice.base @ lattice.base.T, np.eye(3))
    to_cartesian = lattice.normbase
    warn_of_anisotropy(
        structure.title or "the structure",
        [
            atom.label or atom.element
            for atom in structure
            if atom.anisotropy and is_anisotropic(to_cartesian.T @ atom.U @ to_cartesian)
        ],
    )
    atoms = [(atom.element, atom.xyz, atom.Uisoequiv, atom.occupancy) for atom in structure]
    return _Read(lattice.base, (not particle,) * 3, atoms)
