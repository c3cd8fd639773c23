"""Atoms to files that other programs read."""

from __future__ import annotations

from pathlib import Path

from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.files import write_atomically


def write_structure(path: Path, structure: AtomicStructure) -> None:
    """Write a structure as CIF or as extended XYZ, by the file's ending.

    Raises:
        ValueError: the ending is neither .cif nor .xyz.
    """
    writers = {".cif": _cif, ".xyz": _extended_xyz}
    if path.suffix.lower() not in writers:
        raise ValueError(f"{path}: the file's ending must be .cif or .xyz")
    text = writers[path.suffix.lower()](structure)
    write_atomically(path, lambda beside: beside.write_text(text))


def uiso_in_words(structure: AtomicStructure) -> str:
    """Isotropic displacements of each element, A^2, as in Cu 0.007, Au 0.005-0.008."""
    parts = []
    for element in dict.fromkeys(structure.elements.tolist()):
        values = structure.uiso[structure.elements == element]
        ends = dict.fromkeys((f"{values.min():.4g}", f"{values.max():.4g}"))
        parts.append(f"{element} {'-'.join(ends)}")
    return ", ".join(parts)


def _cif(structure: AtomicStructure) -> str:
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifWriter

    atoms = Structure(
        structure.lattice,
        structure.elements.tolist(),
        structure.frac,
        site_properties={"U_iso_or_equiv": structure.uiso.tolist()},
    )
    return str(CifWriter(atoms, write_site_properties=True, significant_figures=10))


def _extended_xyz(structure: AtomicStructure) -> str:
    lattice = " ".join(f"{x:.10f}" for x in structure.lattice.ravel())
    positions = structure.frac @ structure.lattice
    lines = [
        str(len(positions)),
        f'Lattice="{lattice}" Properties=species:S:1:pos:R:3:uiso:R:1 pbc="T T T"',
    ]
    for element, (x, y, z), uiso in zip(structure.elements, positions, structure.uiso, strict=True):
        lines.append(f"{element} {x:.10f} {y:.10f} {z:.10f} {uiso:.10f}")
    return "\n".join(lines) + "\n"
