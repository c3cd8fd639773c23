"""The host of a measurement, from its CIF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defectgen.hosts.cif import read_cif, read_with_notes
from defectgen.hosts.host import Host
from pdfcalc import AtomicStructure
from pdfcalc.measured.refinement import Refinement


@dataclass(frozen=True)
class Structure:
    """The host of a measurement: of a host's CIF file the standard cell, else the file's own."""

    path: Path
    atoms: AtomicStructure
    host: Host | None
    """None where the crystal is none that the toolkit makes defects in."""
    refusal: str | None
    """Why it is none."""
    notes: tuple[str, ...]
    """What was assumed of the file."""

    @property
    def told(self) -> list[str]:
        """The notes, with the file's name."""
        return [f"{self.path}: {note}" for note in self.notes]

    @classmethod
    def read(cls, path: Path) -> Structure:
        atoms, notes = read_with_notes(path)
        try:
            accepted = read_cif(path)
        except ValueError as error:
            return cls(path, atoms, None, str(error), notes)
        return cls.of_host(path, accepted.host, accepted.notes)

    @classmethod
    def of_host(cls, path: Path, host: Host, notes: tuple[str, ...] = ()) -> Structure:
        # Lengths are refined and angles are not, so a primitive cell would lose its freedom.
        return cls(path, host.atoms, host, None, notes)

    def refined(self, found: Refinement) -> Host | None:
        """The host with the refined lengths and displacements."""
        if self.host is None:
            return None
        a, _, c = np.linalg.norm(found.structure.lattice, axis=1).tolist()
        return self.host.changed(a, c, found.structure.uiso.mean())
