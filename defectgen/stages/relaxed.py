"""Atoms moved to where point defects push them, in a cell that nothing presses on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic import Field as Setting

from defectgen.hosts.elements import LIGHT
from defectgen.relaxation import volumes
from defectgen.relaxation.field import Defect, DisplacementField
from defectgen.samples import Coordinate, Field, LatticeView, Resources, Sample, UnusableItem
from pdfcalc.crystals.displacements import Occupied
from pdfcalc.crystals.structure import AtomicStructure

_NO_DIRECTION = (0, 0, 0)
_FARTHEST = 0.4
"""Displacement in distances of nearest neighbours from which on nothing here holds."""


def _rising(found: tuple[float, float]) -> tuple[float, float]:
    low, high = found
    if not 0 <= low <= high <= 2:
        raise ValueError(f"{low:g} to {high:g}: give the lower end first, both within 0 and 2")
    return found


class Relaxed(BaseModel):
    """Point defects with their displacement fields (`defectgen.relaxation`).

    Each defect pushes its neighbours as much as its relaxation volume asks for; the crystal answers
    as the springs do that have its elastic constants, and its cell follows. Fields of defects add
    up, which holds while these are few.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str] = "relaxed"
    revision: ClassVar[int] = 1
    exact: ClassVar[bool] = True

    amplitude: Annotated[tuple[float, float], AfterValidator(_rising)] = Setting(
        (1.0, 1.0), description="factor of the relaxation volumes, drawn once a sample"
    )
    dumbbells: bool = Setting(
        True, description="whether self-interstitials share a site with one of their neighbours"
    )

    def fields(self) -> dict[str, Field]:
        strain = {"long_name": "change of the volume by the defects", "units": "1"}
        largest = {"long_name": "largest displacement of an atom", "units": "angstrom"}
        return {
            "volume_strain": Field("float32", math.nan, strain),
            "largest_displacement": Field("float32", math.nan, largest),
        }

    def coordinates(self) -> dict[str, Coordinate]:
        return {}

    def apply(self, samples: Sequence[Sample], on: Resources) -> list[Sample]:
        fields: dict[int, DisplacementField] = {}
        relaxed = []
        for sample in samples:
            if sample.lattice is None:
                raise UnusableItem("relaxed is for atoms on their sites: make it the first stage")
            crystal = sample.lattice.crystal
            if id(crystal) not in fields:
                fields[id(crystal)] = DisplacementField(crystal)
            relaxed.append(self._relaxed(sample, sample.lattice, fields[id(crystal)]))
        return relaxed

    def _relaxed(self, sample: Sample, view: LatticeView, field: DisplacementField) -> Sample:
        crystal, change = view
        if not len(change.removed.site) + len(change.own.site) + len(change.added.site):
            none = {"volume_strain": 0.0, "largest_displacement": 0.0}
            return replace(sample, values={**sample.values, **none})
        rng = sample.random(self.name)
        amplitude = rng.uniform(*self.amplitude)
        dumbbells = list(_dumbbells(view, field, rng)) if self.dumbbells else []
        defects = _defects(view, field, dumbbells)
        displacements, strain = field.of(
            defect._replace(volume=amplitude * defect.volume) for defect in defects
        )
        largest = float(np.linalg.norm(displacements, axis=-1).max())
        if largest > _FARTHEST * field.unit:
            raise UnusableItem(
                f"variant {sample.key[2]}: its defects push an atom by {largest:.2f} A, farther "
                "than displacements can be added up; lower the fraction or raise the separation"
            )
        moved = _moved(view, field, dumbbells, displacements)
        lattice = crystal.sites.lattice @ (np.eye(3) + strain)
        return replace(
            sample,
            atoms=partial(_atoms, sample.atoms, moved, lattice),
            lattice=None,
            values={
                **sample.values,
                "volume_strain": float(np.trace(strain)),
                "largest_displacement": largest,
            },
        )


class _Dumbbell(NamedTuple):
    """A self-interstitial and the atom that it shares a site with.

    Args:
        own: which of the change's own atoms it is.
        site: of the atom.
        cell: (3,) of the atom, as seen from the interstitial's site, not wrapped.
        direction: as of `Defect`.
    """

    own: int
    site: int
    cell: np.ndarray
    direction: tuple[int, int, int]


def _dumbbells(
    view: LatticeView, field: DisplacementField, rng: np.random.Generator
) -> Iterator[_Dumbbell]:
    """Self-interstitials with one of their nearest atoms each, at random; some find none."""
    crystal, change = view
    if not field.dumbbells:
        return
    repeats = crystal.sites.repeats
    taken = np.zeros((crystal.n_filled, *repeats), dtype=bool)
    taken[(change.removed.site, *change.removed.cell.T)] = True
    for own, (site, cell) in enumerate(zip(change.own.site.tolist(), change.own.cell, strict=True)):
        near = field.nearest(site)
        cells = near.cell + cell
        free = np.flatnonzero(~taken[(near.site, *(cells % repeats).T)])
        if len(free):
            partner = rng.choice(free)
            direction = field.dumbbells[rng.integers(len(field.dumbbells))]
            taken[(near.site[partner], *(cells[partner] % repeats))] = True
            yield _Dumbbell(own, int(near.site[partner]), cells[partner], direction)


def _defects(
    view: LatticeView, field: DisplacementField, dumbbells: list[_Dumbbell]
) -> Iterator[Defect]:
    crystal, change = view
    vacancy, self_interstitial, first = volumes.own_defects(crystal.element, field.space_group)
    contraction = None if first is None else first / vacancy
    replaced = {_key(*place) for place in _each(change.added)}
    for site, cell in _each(change.removed):
        if _key(site, cell) not in replaced:
            yield Defect(site, cell, _NO_DIRECTION, vacancy, contraction)
    for site, cell in _each(change.added):
        yield _foreign(view, field, site, cell)
    for dumbbell in dumbbells:
        yield Defect(dumbbell.site, dumbbell.cell, dumbbell.direction, self_interstitial)
    paired = {dumbbell.own for dumbbell in dumbbells}
    for own, (site, cell) in enumerate(_each(change.own)):
        if own not in paired:
            yield Defect(site, cell, _NO_DIRECTION, self_interstitial)


def _foreign(view: LatticeView, field: DisplacementField, site: int, cell: np.ndarray) -> Defect:
    host, impurity = view.crystal.element, view.change.element
    if impurity not in LIGHT:
        of_kind = volumes.substitution if site < view.crystal.n_filled else volumes.interstitial
        return Defect(site, cell, _NO_DIRECTION, of_kind(host, impurity))
    volume = volumes.light_interstitial(impurity, host, field.space_group, field.hole(site))
    found = Defect(site, cell, _NO_DIRECTION, volume / field.atomic_volume)
    # Hydrogen's forces reach as far as those of large atoms (docs/stages.md).
    return found if impurity == "H" else found._replace(pushed=found.volume)


def _moved(
    view: LatticeView,
    field: DisplacementField,
    dumbbells: list[_Dumbbell],
    displacements: np.ndarray,
) -> np.ndarray:
    """(N, 3) how far each atom of the changed crystal goes, A, in its order."""
    crystal, change = view
    of_sites = displacements.copy()
    own = [_between(field, displacements, *place) for place in _each(change.own)]
    frac, repeats = crystal.sites.frac, crystal.sites.repeats
    cell_vectors = crystal.sites.lattice / repeats[:, None]
    for dumbbell in dumbbells:
        at = (*(dumbbell.cell % repeats), dumbbell.site)
        split = field.split(dumbbell.direction)
        of_sites[at] -= split
        site, cell = change.own.site[dumbbell.own], change.own.cell[dumbbell.own]
        to_partner = frac[dumbbell.site] + dumbbell.cell - frac[site] - cell
        own[dumbbell.own] = to_partner @ cell_vectors + displacements[at] + split
    added = [
        displacements[(*cell, site)]
        if site < crystal.n_filled
        else _between(field, displacements, site, cell)
        for site, cell in _each(change.added)
    ]
    kept = crystal.kept(change)
    return np.concatenate(
        [of_sites[(*kept.cell.T, kept.site)], *np.reshape(own + added, (-1, 1, 3))]
    )


def _between(
    field: DisplacementField, displacements: np.ndarray, site: int, cell: np.ndarray
) -> np.ndarray:
    """(3,) displacement of an atom between sites: the mean of the atoms around it."""
    near = field.nearest(site)
    cells = (near.cell + cell) % displacements.shape[:3]
    return displacements[(*cells.T, near.site)].mean(axis=0)


def _each(places: Occupied) -> Iterator[tuple[int, np.ndarray]]:
    return zip(places.site.tolist(), places.cell, strict=True)


def _key(site: int, cell: np.ndarray) -> tuple[int, ...]:
    return site, *cell.tolist()


def _atoms(
    before: Callable[[], AtomicStructure], moved: np.ndarray, lattice: np.ndarray
) -> AtomicStructure:
    atoms = before()
    frac = atoms.frac + moved @ np.linalg.inv(atoms.lattice)
    return AtomicStructure(lattice, frac, atoms.elements, atoms.uiso, atoms.occupancy)


PLUG_IN = Relaxed
