"""Defect variants of a host: which atoms leave which sites, and which come."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from defectgen.elements import debye_uiso
from defectgen.host import Host
from defectgen.settings import IMPURITY_KINDS, INTERSTITIAL_KINDS, KINDS, DefectSettings
from defectgen.sites import interstitial_sites
from defectgen.voids import nearest_neighbour
from pdfcalc.displacements import Occupied, Sites
from pdfcalc.lattice import Change, LatticeCrystal
from pdfcalc.structure import AtomicStructure

_NONE = Occupied(np.empty(0, dtype=np.int64), np.empty((0, 3), dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Variant:
    """One defective (or the pristine) state of a host's supercell.

    Args:
        label: 0 for the pristine host, else 1 + the kind's place in `KINDS`.
        concentration: number of defects as a fraction of the host's atoms.
        impurity: symbol of the foreign element; None where there is none.
        change: the sites emptied and filled.
    """

    label: int
    concentration: float
    impurity: str | None
    change: Change


class HostSupercell:
    """A host's supercell with all sites a defect may use: its own atoms' first."""

    def __init__(self, host: Host, settings: DefectSettings) -> None:
        self.host, self.settings = host, settings
        self.orbits = interstitial_sites(host)
        frac = np.concatenate([np.array(host.frac), *(orbit.frac for orbit in self.orbits)])
        repeats = np.array(settings.supercell, dtype=np.int64)
        sites = Sites(frac, repeats, host.lattice * repeats[:, None])
        self.crystal = LatticeCrystal(sites, len(host.frac), host.element, host.uiso)
        self.n_atoms = len(host.frac) * int(np.prod(repeats))

    def variant(self, seed: int, index: int) -> Variant:
        """Variant `index`, drawn from (seed, host id, index) and nothing else.

        Raises:
            ValueError: the host has no room for so many interstitials, or no number of defects
            gives a fraction in the range.
        """
        kind = self.settings.kind_of(index)
        if kind is None:
            return Variant(0, 0.0, None, Change(_NONE, _NONE, self.host.element, self.host.uiso))
        rng = np.random.default_rng(_seed_sequence(seed, self.host.id, index))
        count = self._draw_count(rng)
        impurity = self._draw_impurity(rng) if kind in IMPURITY_KINDS else None
        element, uiso = self.host.element, self.host.uiso
        if impurity is not None:
            element, uiso = impurity, debye_uiso(impurity, self.host.temperature or 300.0)
        if kind in INTERSTITIAL_KINDS:
            removed, added = _NONE, self._draw_interstitials(rng, count)
        else:
            removed = self._draw_host_atoms(rng, count)
            added = removed if kind == "substitution" else _NONE
        change = Change(removed, added, element, uiso)
        return Variant(1 + KINDS.index(kind), count / self.n_atoms, impurity, change)

    def atoms(self, variant: Variant) -> AtomicStructure:
        """The atoms of a variant in the supercell."""
        repeats = self.crystal.sites.repeats
        every = self._host_places
        removed, added = variant.change.removed, variant.change.added
        gone = {(s, *c) for s, c in zip(removed.site.tolist(), removed.cell.tolist(), strict=True)}
        kept = [
            (s, *c) not in gone
            for s, c in zip(every.site.tolist(), every.cell.tolist(), strict=True)
        ]
        filled = _joined(every[np.array(kept)], added)
        n_kept, n_added = sum(kept), len(added.site)
        return AtomicStructure(
            self.crystal.sites.lattice,
            (self.crystal.sites.frac[filled.site] + filled.cell) / repeats,
            [self.host.element] * n_kept + [variant.change.element] * n_added,
            [self.host.uiso] * n_kept + [variant.change.uiso] * n_added,
        )

    @cached_property
    def count_range(self) -> tuple[int, int]:
        """Fewest and most defects whose fraction of the host's atoms is in the settings' range.

        Raises:
            ValueError: there is no such number.
        """
        low, high = self.settings.fraction
        fewest = int(np.ceil(low * self.n_atoms - 1e-9))
        most = int(np.floor(high * self.n_atoms + 1e-9))
        if fewest > most:
            raise ValueError(
                f"{self.host.id}: no number of its {self.n_atoms} atoms is {low:g} to {high:g} of "
                "them; take a larger supercell or a wider fraction"
            )
        return fewest, most

    def _draw_count(self, rng: np.random.Generator) -> int:
        low, high = self.settings.fraction
        fraction = low + (high - low) * rng.random()
        return int(np.clip(round(fraction * self.n_atoms), *self.count_range))

    def _draw_impurity(self, rng: np.random.Generator) -> str:
        choices = [e for e in self.settings.impurities if e != self.host.element]
        return choices[rng.integers(len(choices))]

    def _draw_host_atoms(self, rng: np.random.Generator, count: int) -> Occupied:
        return self._host_places[rng.permutation(self.n_atoms)[:count]]

    def _draw_interstitials(self, rng: np.random.Generator, count: int) -> Occupied:
        """Interstitials on one kind of site, put at random where none is too near.

        Other kinds of site are tried in a random order where the first has no room.
        """
        for orbit in rng.permutation(len(self.orbits)):
            places = self._interstitial_places[orbit]
            shuffled = places[rng.permutation(len(places.site))]
            chosen = self.crystal.sites.first_apart(shuffled, self.too_near, count)
            if len(chosen.site) == count:
                return chosen
        raise ValueError(
            f"{self.host.id}: no room for {count} interstitials at least "
            f"{self.least_separation:.2f} A apart; lower the fraction or the separation"
        )

    @cached_property
    def least_separation(self) -> float:
        """Least distance of two interstitials, A."""
        nearest = nearest_neighbour(self.host.lattice, np.array(self.host.frac))
        return self.settings.separation * nearest

    @cached_property
    def shortest_pair(self) -> float:
        """No two atoms of any variant are closer, A."""
        sites = self.crystal.sites
        with_host = sites.shortest[np.unique(sites.class_of[:, : len(self.host.frac)])].min()
        return float(min(with_host, self.least_separation * (1 - 1e-9)))

    @cached_property
    def too_near(self) -> np.ndarray:
        """(C,) whether a displacement of each class is too short for two interstitials."""
        return self.crystal.sites.shortest < self.least_separation * (1 - 1e-9)

    @cached_property
    def _host_places(self) -> Occupied:
        """Every atom of the host's supercell."""
        return self._copies(0, len(self.host.frac))

    @cached_property
    def _interstitial_places(self) -> list[Occupied]:
        """Every copy of each kind of interstitial site in the supercell."""
        starts = np.cumsum([len(self.host.frac), *(len(orbit.frac) for orbit in self.orbits)])
        return [self._copies(*ends) for ends in pairwise(starts.tolist())]

    def _copies(self, start: int, stop: int) -> Occupied:
        """Every copy in the supercell of some consecutive sites of the unit cell."""
        cells = np.indices(self.settings.supercell).reshape(3, -1).T
        sites = np.arange(start, stop)
        return Occupied(np.repeat(sites, len(cells)), np.tile(cells, (len(sites), 1)))


def _joined(first: Occupied, second: Occupied) -> Occupied:
    return Occupied(
        np.concatenate([first.site, second.site]), np.concatenate([first.cell, second.cell])
    )


def _seed_sequence(seed: int, host_id: str, variant: int) -> np.random.SeedSequence:
    words = np.frombuffer(hashlib.sha256(host_id.encode()).digest()[:16], dtype="<u4")
    return np.random.SeedSequence(seed, spawn_key=(*words.tolist(), variant))
