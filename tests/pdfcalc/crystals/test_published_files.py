"""CIF files that packages carry: what we read is what gemmi and pymatgen read."""

from __future__ import annotations

import subprocess
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gemmi
import numpy as np
import pytest
import spglib
from pymatgen.io.cif import CifParser

from pdfcalc.crystals.cif import describe, expand
from pdfcalc.crystals.symbols import element_of

PACKAGES = Path(__file__).with_name("published_files.txt")
MAGNETIC = "refused: its symmetry is told by _space_group_"
NO_CRYSTAL = "refused: no atoms: the file has no _atom_site_fract_x"
REPEATED = "duplicate tag _chemical_formula_sum"
NO_CIF = "parse error"
KNOWN = {
    **dict.fromkeys(
        ("Ca3CoMnO6.mcif", "LaMnO3.mcif", "MnO.mcif", "Sr3LiRuO6_C2'c'.mcif"), MAGNETIC
    ),
    **dict.fromkeys(("bvparm2016.cif", "bvparm2020.cif"), NO_CRYSTAL),
    **dict.fromkeys(
        ("Sapphire.cif", "Vanadium.cif", "Fd3.cif", "Fd3m.cif", "I4_132.cif"), REPEATED
    ),
    **dict.fromkeys(("P3_112.cif", "P4_332.cif", "P6_422.cif", "Pm3.cif", "R-3.cif"), REPEATED),
    **dict.fromkeys(("R-3c.cif", "R32.cif"), REPEATED),
    "NaCoO2_stripe_supercell.cif": NO_CIF,
}
"""Files of which the readers differ, and how. We refuse the magnetic ones, whose groups of more
than space pymatgen takes apart. gemmi, left to itself, refuses tags that are repeated with no value
and a name of several words without quotes; there we agree with pymatgen."""


class Found(NamedTuple):
    """What a reader finds in a file."""

    lengths: np.ndarray
    angles: np.ndarray
    atoms: Counter[str]
    group: int
    """That spglib finds in the atoms; 0 where sites are shared or partly filled."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    options = ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run(
        [*command, *options, "--requirement", str(PACKAGES)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no package can be downloaded: {done.stderr.strip().splitlines()[-1]}")
    return folder


def cif_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for member in sorted(archive.namelist()):
                if member.lower().endswith((".cif", ".mcif")):
                    yield Path(member).name, archive.read(member)


def group_of(lattice: Any, positions: Any, symbols: list[str], occupancies: list[float]) -> int:
    if min(occupancies) < 0.999:
        return 0
    kinds = [sorted(set(symbols)).index(symbol) for symbol in symbols]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = spglib.get_symmetry_dataset((lattice, positions, kinds), 0.01)
    return found.number if found else 0


def ours(content: bytes) -> Found:
    description = describe(content)
    crystal = expand(description)
    rows = [description.atoms[row] for row in crystal.row]
    atoms: Counter[str] = Counter()
    for atom in rows:
        atoms[element_of(atom.element)] += min(atom.occupancy, 1.0)
    lattice = crystal.lattice
    occupancies = [atom.occupancy for atom in rows]
    group = group_of(lattice, crystal.frac, [atom.element for atom in rows], occupancies)
    cell = gemmi.UnitCell(*_parameters(lattice))
    return Found(_lengths(cell), _angles(cell), atoms, group)


def _parameters(lattice: np.ndarray) -> tuple[float, ...]:
    lengths = np.linalg.norm(lattice, axis=1)
    cosines = [
        lattice[i] @ lattice[j] / (lengths[i] * lengths[j]) for i, j in ((1, 2), (0, 2), (0, 1))
    ]
    return (*lengths.tolist(), *np.degrees(np.arccos(cosines)).tolist())


def _lengths(cell: gemmi.UnitCell) -> np.ndarray:
    return np.array([cell.a, cell.b, cell.c])


def _angles(cell: gemmi.UnitCell) -> np.ndarray:
    return np.array([cell.alpha, cell.beta, cell.gamma])


def by_gemmi(content: bytes) -> Found:
    blocks = gemmi.cif.read_string(content)
    (block,) = (block for block in blocks if block.find_loop("_atom_site_fract_x"))
    structure = gemmi.make_small_structure_from_block(block)
    structure.setup_cell_images()
    sites = structure.get_all_unit_cell_sites()
    atoms: Counter[str] = Counter()
    for site in sites:
        atoms["H" if site.element.name == "D" else site.element.name] += min(site.occ, 1.0)
    cell = structure.cell
    return Found(_lengths(cell), _angles(cell), +atoms, 0)


def by_pymatgen(content: bytes) -> Found:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser = CifParser.from_str(content.decode("utf-8", "replace"), occupancy_tolerance=100)
        (structure,) = parser.parse_structures(primitive=False)
    atoms: Counter[str] = Counter()
    for site in structure:
        for part, occupancy in site.species.items():
            atoms[part.symbol] += occupancy
    lattice, symbols = structure.lattice, [site.species_string for site in structure]
    occupancies = [site.species.num_atoms if site.is_ordered else 0.0 for site in structure]
    group = group_of(lattice.matrix, structure.frac_coords, symbols, occupancies)
    return Found(np.array(lattice.abc), np.array(lattice.angles), atoms, group)


def difference(found: Found, other: Found) -> str:
    """How another reader's crystal differs; empty if it is the same."""
    if np.abs(found.lengths - other.lengths).max() > 1e-3:
        return f"lengths {other.lengths}"
    if np.abs(found.angles - other.angles).max() > 1e-2:
        return f"angles {other.angles}"
    elements = found.atoms.keys() | other.atoms.keys()
    if any(abs(found.atoms[e] - other.atoms[e]) > 0.02 * max(1, found.atoms[e]) for e in elements):
        return f"atoms {dict(other.atoms)}"
    if found.group and other.group and found.group != other.group:
        return f"group {other.group}"
    return ""


def disagreement(content: bytes) -> str:
    try:
        found = ours(content)
    except ValueError as error:
        return f"refused: {error}"
    for read in (by_gemmi, by_pymatgen):
        try:
            differs = difference(found, read(content))
        except (ValueError, RuntimeError) as error:
            differs = str(error)
        if differs:
            return f"{read.__name__.removeprefix('by_')}: {differs}"
    return ""


@pytest.mark.slow
def test_published_files_are_read_as_other_programs_read_them(folder):
    files = list(cif_files(folder))
    assert len(files) > 300
    found = {name: text for name, content in files if (text := disagreement(content))}
    print(f"{len(files)} files, {len(found)} disagreements")
    odd = {name: text for name, text in found.items() if KNOWN.get(name, "none") not in text}
    assert {name: text[:200] for name, text in odd.items()} == {}
    assert found.keys() == KNOWN.keys()
