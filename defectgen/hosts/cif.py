"""Hosts from a folder of CIF files, such as an export of ICSD, and structures from single files.

What a crystal is, is read off its atoms: spglib finds the space group of the coordinates within
`SYMMETRY_TOLERANCE`, moves the atoms onto their exact positions and gives the standard cell. Every
repair is said in a note, and every file that gives no host is quarantined with the reason.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defectgen.hosts.elements import ROOM_TEMPERATURE, atomic_volume, debye_uiso, metals
from defectgen.hosts.host import CUBIC_GROUPS, SPACE_GROUPS, Host
from pdfcalc import AtomicStructure
from pdfcalc.crystals.cif import Atom, Crystal, Description, describe, expand, read_atoms, reason
from pdfcalc.crystals.periodic import in_order, nearest_neighbour, wrapped
from pdfcalc.reading import read_file

SYMMETRY_TOLERANCE = 0.01
"""A, how far atoms may be from the positions of the group that spglib finds."""

MINIMUM_NEIGHBOUR_DISTANCE = 1.0
"""A; no two metal atoms come as near at any pressure."""

MAXIMUM_ATOMS = 1000
"""In the file's cell, of a host."""

# The conventional cell leaves the choice between two origins, which keep all operations but
# exchange Wyckoff letters (Euclidean normalizers, International Tables A, table 3.5.2.4).
_OTHER_ORIGIN = {
    225: (0.5, 0.5, 0.5),
    194: (0, 0, 0.5),
    139: (0, 0, 0.5),
    140: (0, 0, 0.5),
    141: (0, 0, 0.5),
}
# By default spglib puts 141 in origin choice 1.
_HALL_NUMBER = {141: 427}


@dataclass(frozen=True)
class Accepted:
    """A file that gave a host, with the repairs made."""

    host: Host
    file: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Quarantined:
    """A file that gave none, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class CifFolder:
    """The files of a folder, sorted by path."""

    accepted: tuple[Accepted, ...]
    quarantined: tuple[Quarantined, ...]

    @property
    def hosts(self) -> list[Host]:
        return [entry.host for entry in self.accepted]


def read_cif_folder(folder: str | os.PathLike[str]) -> CifFolder:
    """Sort a folder's CIF files, subfolders included, into hosts and quarantined files.

    Raises:
        ValueError: the folder does not exist or has no CIF file.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder: give the folder that holds the CIF files")
    paths, quarantined = cif_paths(root)
    if not paths and not quarantined:
        raise ValueError(f"{root} has no file that ends in .cif, in subfolders neither")
    accepted: list[Accepted] = []
    first_with: dict[bytes, str] = {}
    for path in paths:
        name = printable(path.relative_to(root))
        try:
            content = read_file(path)
            digest = hashlib.sha256(content).digest()
            if digest in first_with:
                raise ValueError(f"the same content as {first_with[digest]!r}")
            host, notes = _host(content, name)
        except Exception as error:  # one odd file must not stop the others
            quarantined.append(Quarantined(name, reason(error)))
        else:
            first_with[digest] = name
            accepted.append(Accepted(host, name, notes))
    return CifFolder(tuple(accepted), tuple(sorted(quarantined, key=lambda q: q.file)))


def read_cif(path: str | os.PathLike[str]) -> Accepted:
    """Read the host that one CIF file describes.

    Raises:
        ValueError: the file gives no host; the message says why.
    """
    path = Path(path)
    try:
        host, notes = _host(read_file(path), printable(Path(path.name)))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {reason(error)}") from error
    return Accepted(host, path.name, notes)


def read_structure(path: str | os.PathLike[str]) -> AtomicStructure:
    """Read any crystal as a CIF file gives it; metals without Uiso get their Debye value.

    Raises:
        ValueError: the file is unusable, or states no Uiso of an element that is no metal.
    """
    return read_atoms(path, _debye)


def printable(path: Path) -> str:
    """The path, bytes that are not UTF-8 escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _debye(description: Description, atom: Atom) -> float:
    if atom.element not in metals():
        raise ValueError(
            f"no Uiso for {atom.label}, and none is known of {atom.element}: "
            "add _atom_site_U_iso_or_equiv"
        )
    return debye_uiso(atom.element, description.temperature or ROOM_TEMPERATURE)


def _host(content: bytes, name: str) -> tuple[Host, tuple[str, ...]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        description = describe(content)
        element = _only_metal(description)
        crystal = expand(description)
        group, lattice, frac, wyckoff = _standardised(crystal)
    notes = [*description.notes, *crystal.notes]
    if description.declared_group not in (None, group):
        notes.append(f"declared space group {description.declared_group}; the atoms have {group}")
    if description.atoms_per_cell not in (None, len(crystal.frac)):
        stated = description.atoms_per_cell
        notes.append(f"formula and Z give {stated:g} atoms a cell; it has {len(crystal.frac)}")
    if len(frac) != len(crystal.frac):
        notes.append(f"cell of {len(crystal.frac)} atoms taken to the standard cell of {len(frac)}")
    volume, usual = np.linalg.det(lattice) / len(frac), atomic_volume(element)
    if volume > 2 * usual:
        notes.append(f"suspect: {volume:.0f} A^3 per atom, where {element} takes {usual:.0f}")
    uiso, source, note = _mean_uiso(description, crystal, element)
    host = Host(
        id=_host_id(name, content),
        element=element,
        space_group=group,
        a=lattice[0, 0],
        c=lattice[2, 2] if group not in CUBIC_GROUPS else lattice[0, 0],
        wyckoff=wyckoff,
        frac=tuple(map(tuple, frac.tolist())),
        uiso=uiso,
        uiso_source=source,
        temperature=description.temperature,
        pressure=description.pressure,
        origin="cif",
        source=name,
    )
    return host, (*notes, *note)


def _only_metal(description: Description) -> str:
    """The element, once it is known to be one metal that fills its sites."""
    elements = sorted({atom.element for atom in description.atoms})
    if len(elements) > 1:
        raise ValueError(f"alloy or compound of {', '.join(elements)}: hosts are pure elements")
    if elements[0] not in metals():
        raise ValueError(f"{elements[0]} is not one of the metals known here")
    for atom in description.atoms:
        if not 0.99 <= atom.occupancy <= 1.01:
            raise ValueError(f"partial occupancy: {atom.label} {atom.occupancy:g}")
    if len(description.atoms) > MAXIMUM_ATOMS:
        raise ValueError(f"lists {len(description.atoms)} atoms, more than {MAXIMUM_ATOMS}")
    return elements[0]


def _standardised(crystal: Crystal) -> tuple[int, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Space group, cell, positions and Wyckoff labels in the standard cell."""
    if len(crystal.frac) > MAXIMUM_ATOMS:
        raise ValueError(f"{len(crystal.frac)} atoms in the cell, more than {MAXIMUM_ATOMS}")
    nearest = nearest_neighbour(crystal.lattice, crystal.frac)
    if nearest < MINIMUM_NEIGHBOUR_DISTANCE:
        raise ValueError(f"atoms only {nearest:.2f} A apart: split sites or a wrong setting?")
    found = _symmetry(crystal.lattice, crystal.frac)
    if found.number not in SPACE_GROUPS:
        raise ValueError(
            f"space group {found.number} ({found.international}); hosts are in "
            f"{', '.join(map(str, SPACE_GROUPS))}"
        )
    lattice, frac = found.std_lattice, found.std_positions
    hall_number = _HALL_NUMBER.get(found.number, 0)
    origins = [np.zeros(3), np.array(_OTHER_ORIGIN.get(found.number, (0, 0, 0)))]
    if hall_number:
        found = _symmetry(crystal.lattice, crystal.frac, hall_number)
        lattice, frac = found.std_lattice, found.std_positions
    choices = []
    for origin in origins:
        positions = in_order(wrapped(frac + origin))
        dataset = _symmetry(lattice, positions, hall_number)
        # Among equal letters the later positions: 8h of 140 then has its usual x below 1/4.
        key = (sorted(dataset.wyckoffs), (-positions.round(4)).tolist())
        choices.append((key, positions, dataset))
    _, frac, dataset = min(choices, key=lambda choice: choice[0])
    letters, orbits = dataset.wyckoffs, dataset.crystallographic_orbits.tolist()
    order = sorted(range(len(frac)), key=lambda i: (letters[i], orbits[i], i))
    wyckoff = tuple(f"{orbits.count(orbits[i])}{letters[i]}" for i in order)
    return found.number, lattice, frac[order], wyckoff


def _symmetry(lattice: np.ndarray, frac: np.ndarray, hall_number: int = 0):
    import spglib

    cell: Any = (lattice, frac, [1] * len(frac))
    dataset = spglib.get_symmetry_dataset(cell, SYMMETRY_TOLERANCE, hall_number=hall_number)
    if dataset is None:
        raise ValueError("spglib finds no symmetry")
    return dataset


def _mean_uiso(description: Description, crystal: Crystal, element: str):
    """Uiso over all atoms, its source, and the notes on it."""
    uiso = [description.atoms[row].uiso for row in crystal.row]
    if None not in uiso:
        return float(np.mean(uiso)), "cif", []
    temperature = description.temperature or ROOM_TEMPERATURE
    debye = debye_uiso(element, temperature)
    return debye, "debye", [f"no usable Uiso: Debye value {debye:.5f} A^2 at {temperature:g} K"]


def _host_id(name: str, content: bytes) -> str:
    """Stable and unique: from the path in the folder and the content."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(name).stem)[:40].strip("-")
    digest = hashlib.sha256(name.encode() + b"\0" + content).hexdigest()
    return f"cif-{stem or 'unnamed'}-{digest[:8]}"


def cif_paths(root: Path) -> tuple[list[Path], list[Quarantined]]:
    """CIF files, sorted; folders reached twice, by links, are searched once."""
    paths: list[Path] = []
    unreadable: list[Quarantined] = []

    def note(error: OSError) -> None:
        folder = printable(Path(error.filename).relative_to(root))
        unreadable.append(Quarantined(folder, reason(error)))

    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=note):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders.sort()
        paths += [Path(folder, file) for file in files if file.lower().endswith(".cif")]
    return sorted(paths), unreadable
