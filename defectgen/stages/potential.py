"""Atoms and cells relaxed by a potential, for a store of atoms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

from defectgen.relaxation.potentials import Model, about, lack_of, relax
from defectgen.relaxation.relaxed_structure import RelaxedStructure
from defectgen.samples import Coordinate, Field, Resources, Sample, UnusableItem
from defectgen.stages.relaxed import Relaxed
from pdfcalc.crystals.periodic import nearest_neighbour
from pdfcalc.crystals.structure import AtomicStructure

STATES = ("at_rest", "not_converged", "reconstructed")
_NO_CLASS = -1
_SHAKEN = 0.02
"""By which atoms of the perfect crystal are displaced, of the distance of nearest neighbours."""
_BACK = 0.01
"""Of that distance, to which they have to come back."""
_MOST = 0.03
"""Strain from which on a cell is another crystal's, or that of one under pressure."""
_FARTHEST = 0.4
"""Of the distance of nearest neighbours: an atom that goes farther has left its place."""


class PotentialRelaxation(BaseModel):
    """Samples in their nearest state of least energy, in a cell that nothing presses on.

    They start from where stage `relaxed` has their atoms, self-interstitials as dumbbells. What the
    cell does is put onto the host's own, of which the length may be off the potential's. A sample
    that does not converge, or in which atoms leave their places, as where defects recombine or the
    crystal reconstructs, is no sample of its kind any more: `relaxation` says what became of it,
    and its label is -1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str] = "potential"
    revision: ClassVar[int] = 1
    exact: ClassVar[bool] = False
    locating: ClassVar[frozenset[str]] = frozenset()

    model: Model = Setting("eam", description="eam, emt or chgnet: docs/stages.md")

    def fields(self) -> dict[str, Field]:
        energy = {
            "long_name": "energy of the supercell",
            "units": "eV",
            "potential": about(self.model),
        }
        force = {"long_name": "largest component of a force left", "units": "eV angstrom-1"}
        state = {
            "long_name": "what became of the sample",
            "flag_values": list(range(len(STATES))),
            "flag_meanings": " ".join(STATES),
        }
        volume = {
            "long_name": "change of the volume by each defect, in atomic volumes; 0 without any",
            "units": "1",
        }
        return {
            "relaxation": Field("int8", -1, state),
            "energy": Field("float64", math.nan, energy),
            "force": Field("float32", math.nan, force),
            "steps": Field("int32", 0, {"long_name": "steps of minimisation", "units": "1"}),
            "relaxation_volume": Field("float32", math.nan, volume),
        } | Relaxed().fields()

    def coordinates(self) -> dict[str, Coordinate]:
        return {}

    def located(self, folder: Path | None) -> PotentialRelaxation:
        """As of `defectgen.samples.Located`."""
        if lack := lack_of(self.model):
            raise ValueError(f"stage potential: {lack}")
        return self

    def apply(self, samples: Sequence[Sample], on: Resources) -> list[Sample]:
        """As of `Stage`; OSError if the model is not installed."""
        if lack := lack_of(self.model):
            raise OSError(lack)
        host, at_rest = samples[0].atoms(), self._perfect(samples[0], on)
        begun = Relaxed().apply(samples, on) if samples[0].lattice else samples
        return [
            self._relaxed(sample, begin.atoms(), host, at_rest, on)
            for sample, begin in zip(samples, begun, strict=True)
        ]

    def _perfect(self, sample: Sample, on: Resources) -> AtomicStructure:
        """The perfect crystal by the potential, in the potential's own cell."""
        atoms = sample.atoms()
        unit = nearest_neighbour(atoms.lattice, atoms.frac)
        noise = sample.random(self.name).normal(scale=_SHAKEN * unit, size=atoms.frac.shape)
        moved = atoms.frac + noise @ np.linalg.inv(atoms.lattice)
        found = self._found(_with(atoms, atoms.lattice, moved), on)
        largest = _strain(np.linalg.solve(atoms.lattice, found.structure.lattice))
        farthest = _farthest(atoms, found.structure)
        if not found.has_converged or largest > _MOST or farthest > _BACK * unit:
            raise UnusableItem(
                f"{self.model} has another crystal in place of this one: its cell differs by "
                f"{100 * largest:.1f} %, its atoms by {farthest:.2f} A"
            )
        return _with(atoms, found.structure.lattice, atoms.frac)

    def _relaxed(
        self,
        sample: Sample,
        begin: AtomicStructure,
        host: AtomicStructure,
        at_rest: AtomicStructure,
        on: Resources,
    ) -> Sample:
        deformed = at_rest.lattice @ np.linalg.solve(host.lattice, begin.lattice)
        found = self._found(_with(begin, deformed, begin.frac), on)
        deformation = np.linalg.solve(at_rest.lattice, found.structure.lattice)
        strain = float(np.linalg.det(deformation)) - 1
        unit = nearest_neighbour(at_rest.lattice, at_rest.frac)
        state = "at_rest" if found.has_converged else "not_converged"
        if _farthest(begin, found.structure) > _FARTHEST * unit or _strain(deformation) > _MOST:
            state = "reconstructed"
        relaxed = _with(found.structure, host.lattice @ deformation, found.structure.frac)
        fraction = sample.values.get("concentration", 0.0)
        own = {
            "relaxation": STATES.index(state),
            "energy": found.energy,
            "force": found.force,
            "steps": found.steps,
            "volume_strain": strain,
            "relaxation_volume": strain / fraction if fraction else 0.0,
            "largest_displacement": _farthest(sample.atoms(), relaxed),
        }
        if state != "at_rest" and "label" in sample.values:
            own["label"] = _NO_CLASS
        values = {**sample.values, **own}
        return replace(sample, atoms=partial(_as_it_is, relaxed), lattice=None, values=values)

    def _found(self, atoms: AtomicStructure, on: Resources) -> RelaxedStructure:
        try:
            return relax(atoms, self.model, on.device)
        except ValueError as error:
            raise UnusableItem(f"{self.model}: {error}") from None


def _with(atoms: AtomicStructure, lattice: np.ndarray, frac: np.ndarray) -> AtomicStructure:
    return AtomicStructure(lattice, frac, atoms.elements, atoms.uiso, atoms.occupancy)


def _strain(deformation: np.ndarray) -> float:
    """The largest component of the strain of a deformation of row vectors."""
    return float(np.abs(deformation + deformation.T - 2 * np.eye(3)).max()) / 2


def _farthest(before: AtomicStructure, after: AtomicStructure) -> float:
    """By how much the atom goes that goes farthest, A, but for what all do and the cell does."""
    moved = after.frac - before.frac
    moved -= np.rint(moved)
    moved -= moved.mean(axis=0)
    return float(np.linalg.norm(moved @ before.lattice, axis=1).max())


def _as_it_is(atoms: AtomicStructure) -> AtomicStructure:
    return atoms


PLUG_IN = PotentialRelaxation
