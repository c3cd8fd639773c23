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
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from defectgen.hosts.elements import ROOM_TEMPERATURE, debye_uiso, metals
from defectgen.hosts.host import CUBIC_GROUPS, SPACE_GROUPS, Host
from defectgen.hosts.plausible import is_metallic, objection_to_volume, plausible_uiso
from pdfcalc import AtomicStructure
from pdfcalc.crystals.cif import (
    LARGEST,
    Crystal,
    Description,
    describe,
    expand,
    read_atoms,
    reason,
)
from pdfcalc.crystals.cif_displacements import first_of
from pdfcalc.crystals.periodic import in_order, nearest_neighbour, wrapped
from pdfcalc.crystals.symbols import element_of
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
            content = read_file(path, LARGEST)
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
        host, notes = _host(read_file(path, LARGEST), printable(Path(path.name)))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {reason(error)}") from error
    return Accepted(host, path.name, notes)


def read_structure(
    path: str | os.PathLike[str], uiso: Mapping[str, float] | float | None = None
) -> AtomicStructure:
    """Read any crystal as a CIF file gives it; crystals of metals without Uiso get Debye values.

    What is assumed or replaced is warned of.

    Args:
        uiso: mean-square displacement in A^2, one number or one by element, of atoms without a
            usable one in the file.

    Raises:
        ValueError: the file is unusable, or has atoms without Uiso of which none is known.
    """
    structure, notes = read_with_notes(path, uiso)
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    return structure


def read_with_notes(
    path: str | os.PathLike[str], uiso: Mapping[str, float] | float | None = None
) -> tuple[AtomicStructure, tuple[str, ...]]:
    """As `read_structure`, with what it would warn of."""

    def complete(description: Description, crystal: Crystal) -> tuple[list[float], list[str]]:
        used, notes = _completed(description, uiso)
        (element, *others) = {element_of(atom.element) for atom in description.atoms}
        if not others and is_metallic(description):
            volume = abs(np.linalg.det(crystal.lattice)) / len(crystal.row)
            objection = objection_to_volume(element, volume, description.pressure)
            notes += [f"suspect: {objection}"] if objection else []
        return used, notes

    return read_atoms(path, complete)


def printable(path: Path) -> str:
    """The path, bytes that are not UTF-8 escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _completed(
    description: Description, given: Mapping[str, float] | float | None
) -> tuple[list[float], list[str]]:
    """Uiso of each listed atom: the file's, the one given, the Debye value; and what is said."""
    own, notes = plausible_uiso(description)
    temperature = description.temperature or ROOM_TEMPERATURE
    used: dict[str, list[str]] = defaultdict(list)
    lacking: list[str] = []
    for i, atom in enumerate(description.atoms):
        if own[i] is not None:
            continue
        element = element_of(atom.element)
        value = given.get(element) if isinstance(given, Mapping) else given
        source = "as given"
        if value is None and is_metallic(description):
            value = debye_uiso(element, temperature)
            source = f"the Debye value at {temperature:g} K"
        if value is None:
            lacking.append(element)
        else:
            used[f"{value:.4g} A^2 used, {source}"].append(atom.label)
        own[i] = value
    if lacking:
        elements = list(dict.fromkeys(lacking))
        options = " ".join(f"--uiso {element}=0.01" for element in elements)
        raise ValueError(
            f"no usable Uiso of {', '.join(elements)}, and none is known outside metals: add "
            f"_atom_site_U_iso_or_equiv (A^2), or give it as {options}"
        )
    notes += [f"no usable Uiso of {first_of(labels)}: {what}" for what, labels in used.items()]
    return [float(value) for value in own if value is not None], notes


def _host(content: bytes, name: str) -> tuple[Host, tuple[str, ...]]:
    description = describe(content)
    element = _only_metal(description)
    crystal = expand(description)
    group, lattice, frac, wyckoff = _standardised(crystal)
    notes = [*description.notes, *crystal.notes]
    if description.declared_group not in (None, group):
        notes.append(f"declared space group {description.declared_group}; the atoms have {group}")
    stated = description.stated_atoms({element})
    if stated and len(crystal.frac) not in stated:
        notes.append(f"formula and Z give {stated[0]:g} atoms a cell; it has {len(crystal.frac)}")
    if len(frac) != len(crystal.frac):
        notes.append(f"cell of {len(crystal.frac)} atoms taken to the standard cell of {len(frac)}")
    volume = np.linalg.det(lattice) / len(frac)
    if objection := objection_to_volume(element, volume, description.pressure):
        raise ValueError(objection)
    uiso, note = _completed(description, None)
    host = Host(
        id=_host_id(name, content),
        element=element,
        space_group=group,
        a=lattice[0, 0],
        c=lattice[2, 2] if group not in CUBIC_GROUPS else lattice[0, 0],
        wyckoff=wyckoff,
        frac=tuple(map(tuple, frac.tolist())),
        uiso=float(np.mean([uiso[row] for row in crystal.row])),
        uiso_source="debye" if note else "cif",
        temperature=description.temperature,
        pressure=description.pressure,
        origin="cif",
        source=name,
    )
    return host, (*notes, *note)


def _only_metal(description: Description) -> str:
    """The element, once it is known to be one metal that fills its sites."""
    elements = sorted({atom.element for atom in description.atoms})
    if description.formula and elements[0] not in description.formula:
        raise ValueError(
            f"the formula is {''.join(description.formula)}, the atoms are {elements[0]}"
        )
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of how it reports errors
        dataset = spglib.get_symmetry_dataset(cell, SYMMETRY_TOLERANCE, hall_number=hall_number)
    if dataset is None:
        raise ValueError("spglib finds no symmetry")
    return dataset


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
