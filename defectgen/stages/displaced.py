"""Atoms where files have them: relaxed by another program, or the moments of a trajectory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from defectgen.samples import Coordinate, Field, Resources, Sample, UnusableItem
from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.reading import open_regular

if TYPE_CHECKING:
    import ase

# ASE guesses formats, and one of those that it knows is a Python program.
FORMATS = {
    ".xyz": "extxyz",
    ".extxyz": "extxyz",
    ".traj": "traj",
    ".vasp": "vasp",
    ".xdatcar": "vasp-xdatcar",
    ".lammpstrj": "lammps-dump-text",
}
"""What ASE calls the files of each ending."""
_LEAST_VOLUME, _LARGEST_VOLUME = 0.8, 1.25
"""Of what the sample's cell has: beyond it another cell or another unit was meant."""


class Displaced(BaseModel):
    """Positions, and cells, that files of a folder give the atoms of each sample.

    Item ID has its samples in ID.xyz (or another of FORMATS), one frame each, in their order; or
    sample 3 of it has its own file, ID-3.xyz. Atoms are those, and in the order, of the sample's
    file that `defectpdf export` writes. A frame without a cell has the sample's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str] = "displaced"
    revision: ClassVar[int] = 1
    exact: ClassVar[bool] = True
    locating: ClassVar[frozenset[str]] = frozenset({"folder"})

    folder: Path = Setting(description="of the files, as seen from that of the description")
    uiso: float | None = Setting(
        None,
        gt=0,
        description="A^2 of all atoms, small where frames are moments of a vibration; None: as in "
        "the sample",
    )
    files_digest: str | None = Setting(None, description="of names and contents of the files")

    def fields(self) -> dict[str, Field]:
        largest = {"long_name": "largest displacement of an atom", "units": "angstrom"}
        return {"largest_displacement": Field("float32", math.nan, largest)}

    def coordinates(self) -> dict[str, Coordinate]:
        return {}

    def located(self, folder: Path | None) -> Displaced:
        """As of `defectgen.samples.Located`."""
        place = (self.folder if folder is None else folder / self.folder).absolute()
        found = _digest_of(place)
        if self.files_digest not in (None, found):
            raise ValueError(f"stage displaced: the files of {place} are not those of files_digest")
        return self.model_copy(update={"folder": place, "files_digest": found})

    def apply(self, samples: Sequence[Sample], on: Resources) -> list[Sample]:
        """As of `Stage`; OSError if the files are gone, or others by now."""
        try:
            found = _digest_once(self.folder)
        except ValueError as error:
            raise OSError(str(error)) from None
        if self.files_digest not in (None, found):
            raise OSError(f"{self.folder} has other files of positions than when the run began")
        return [
            self._displaced(sample, frame, file)
            for sample, (frame, file) in zip(samples, self._frames_of(samples), strict=True)
        ]

    def _frames_of(self, samples: Sequence[Sample]) -> list[tuple[ase.Atoms, Path]]:
        item = samples[0].key[1]
        own = {file.stem: file for file in _files_of(self.folder)}
        if item in own:
            frames = _frames(own[item])
            if len(frames) != len(samples):
                raise UnusableItem(
                    f"{own[item]} has {len(frames)} frames for {len(samples)} samples: give one of "
                    "each, the perfect crystal first"
                )
            return [(frame, own[item]) for frame in frames]
        found = []
        for sample in samples:
            name = f"{item}-{sample.key[2]}"
            if name not in own:
                raise UnusableItem(f"{self.folder} has no positions named {item} or {name}")
            found.append((_frames(own[name])[-1], own[name]))
        return found

    def _displaced(self, sample: Sample, frame: ase.Atoms, file: Path) -> Sample:
        before = sample.atoms()
        try:
            after = _moved(before, frame, self.uiso)
        except ValueError as error:
            raise UnusableItem(f"{file}, sample {sample.key[2]}: {error}") from None
        moved = after.frac - before.frac
        moved -= np.rint(moved)
        # A file may have its origin anywhere.
        moved -= moved.mean(axis=0)
        largest = float(np.linalg.norm(moved @ after.lattice, axis=1).max())
        return replace(
            sample,
            atoms=partial(_as_it_is, after),
            lattice=None,
            values={**sample.values, "largest_displacement": largest},
        )


def _files_of(folder: Path) -> list[Path]:
    try:
        every = sorted(folder.iterdir())
    except OSError as error:
        raise ValueError(f"stage displaced: {folder}: {error.strerror}") from None
    return [file for file in every if file.suffix.lower() in FORMATS]


def _digest_of(folder: Path) -> str:
    """Of the names and the contents of all files of positions."""
    files = _files_of(folder)
    if not files:
        raise ValueError(
            f"stage displaced: {folder} has no files of positions ({', '.join(FORMATS)})"
        )
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\n".encode())
        with open_regular(file) as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


_digest_once = lru_cache(maxsize=4)(_digest_of)


def _frames(file: Path) -> list[ase.Atoms]:
    from ase.io import read

    try:
        found = read(file, index=":", format=FORMATS[file.suffix.lower()])
    # Every reader of ASE has its own way to fail.
    except Exception as error:
        raise UnusableItem(f"{file} can't be read: {type(error).__name__}: {error}") from None
    return found if isinstance(found, list) else [found]


def _moved(before: AtomicStructure, frame: ase.Atoms, uiso: float | None) -> AtomicStructure:
    """The atoms of a sample where a frame has them; ValueError if these are not the same atoms."""
    symbols = frame.get_chemical_symbols()
    if len(symbols) != len(before.frac):
        raise ValueError(f"it has {len(symbols)} atoms where the sample has {len(before.frac)}")
    for number, (found, own) in enumerate(zip(symbols, before.elements.tolist(), strict=True)):
        if found != own:
            raise ValueError(
                f"atom {number + 1} is {found} where the sample has {own}: keep the order of atoms "
                "that `defectpdf export` writes"
            )
    lattice = np.asarray(frame.cell) if frame.cell.rank == 3 else before.lattice
    ratio = abs(np.linalg.det(lattice)) / before.volume
    if not _LEAST_VOLUME < ratio < _LARGEST_VOLUME:
        raise ValueError(
            f"its cell has {ratio:.3g} of the volume of the sample's: give the same supercell, in A"
        )
    frac = frame.positions @ np.linalg.inv(lattice)
    displacements = before.uiso if uiso is None else np.full(len(frac), uiso)
    return AtomicStructure(lattice, frac, before.elements, displacements, before.occupancy)


def _as_it_is(atoms: AtomicStructure) -> AtomicStructure:
    return atoms


PLUG_IN = Displaced
