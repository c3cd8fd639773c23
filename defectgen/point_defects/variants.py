"""Defect variants of a host: which atoms leave which sites, and which come."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from defectgen.hosts.elements import LIGHT, debye_uiso
from defectgen.hosts.host import Host
from defectgen.point_defects.displacements import (
    Displacements,
    displacements_between,
    displacements_in,
)
from defectgen.point_defects.rules import number_of_defects, share_of_first, spans
from defectgen.point_defects.settings import (
    IMPURITY_KINDS,
    KIND_SETS,
    KINDS,
    DefectSettings,
    set_name,
)
from defectgen.samples import UnusableItem
from defectgen.sites.interstitial import interstitial_sites
from defectgen.sites.usual import usual_sites
from pdfcalc.crystals.displacements import NOWHERE, Occupied, Sites
from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.pdf.lattice import Change, LatticeCrystal


@dataclass(frozen=True, eq=False)
class Variant:
    """One defective (or the pristine) state of a host's supercell.

    Args:
        label: place of what it holds in `KIND_SETS`; 0 for the pristine host.
        n_defects: number of defects of each of `KINDS`.
        concentration: number of all defects as a fraction of the host's atoms.
        impurity: symbol of the foreign element; None where there is none.
        change: the sites emptied and filled.
    """

    label: int
    n_defects: tuple[int, ...]
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
            UnusableItem: the host has no room for so many interstitials, is itself the only
            impurity, or no number of defects gives a fraction in the range.
        """
        kinds = self.settings.kinds_of(index)
        rng = np.random.default_rng(_seed_sequence(seed, self.host.id, index))
        n_defects = self._draw_numbers(rng, kinds)
        impurity = self._draw_impurity(rng, kinds) if set(kinds) & set(IMPURITY_KINDS) else None
        places = self._draw_places(rng, n_defects, self.orbits_of(impurity))
        uiso = self.uiso_of(impurity).at(rng)
        return self.variant_of(KIND_SETS.index(kinds), n_defects, impurity, uiso, places)

    def variant_of(
        self,
        label: int,
        n_defects: tuple[int, ...],
        impurity: str | None,
        uiso: float,
        places: Occupied,
    ) -> Variant:
        """The variant of these defects at places in the order of `rules.spans`.

        Args:
            uiso: of the foreign atoms, or the host's own where there are none, A^2.
        """
        change = self.change_of(n_defects, impurity, uiso, places)
        return Variant(label, n_defects, sum(n_defects) / self.n_atoms, impurity, change)

    def change_of(
        self, n_defects: Sequence[int], impurity: str | None, uiso: float, places: Occupied
    ) -> Change:
        """The sites that these defects empty and fill, as `variant_of`."""
        removed, added, own = (places[slice(*span)] for span in spans(*n_defects))
        return Change(removed, added, impurity or self.host.element, uiso, own)

    def uiso_of(self, impurity: str | None) -> Displacements:
        """Uiso of foreign atoms, or of the host's own where there is no impurity."""
        if impurity is None:
            return Displacements(self.host.uiso)
        if impurity in LIGHT:
            site = self.orbits[self.orbits_of(impurity)[0]]
            return displacements_between(self.host, impurity, site.coordination)
        if self.settings.impurity_uiso == "element":
            return Displacements(debye_uiso(impurity, self.host.kelvin))
        return displacements_in(self.host, impurity)

    def orbits_of(self, impurity: str | None) -> tuple[int, ...]:
        """Kinds of interstitial site that a variant with this impurity may use: places in `orbits`.

        All, but for light atoms, which have their usual sites.
        """
        usual = usual_sites(self.host, impurity, self.orbits) if impurity in LIGHT else self.orbits
        return tuple(place for place, site in enumerate(self.orbits) if site in usual)

    def impurities_of(self, kinds: tuple[str, ...]) -> tuple[str, ...]:
        """What a variant of these kinds draws its impurity from.

        Raises:
            UnusableItem: there is none that the host is not.
        """
        if choices := self.settings.impurities_of(self.host.element, kinds):
            return choices
        raise UnusableItem(
            f"{self.host.id}: {self.host.element} is the only impurity that can be a "
            f"{set_name(kinds)}, and the host's own element; name another or leave this host out"
        )

    def atoms(self, variant: Variant) -> AtomicStructure:
        """The atoms of a variant in the supercell."""
        return self.crystal.changed(variant.change)

    def count_range(self, kinds: tuple[str, ...]) -> tuple[int, int]:
        """Fewest and most defects whose fraction of the host's atoms is in the kinds' range.

        Raises:
            UnusableItem: there is no such number, or none that two kinds can share, each with no
            fewer than the fewest.
        """
        low, high = self.settings.fraction_of(kinds)
        fewest = int(np.ceil(low * self.n_atoms - 1e-9))
        most = int(np.floor(high * self.n_atoms + 1e-9))
        if fewest > most:
            raise UnusableItem(
                f"{self.host.id}: no number of its {self.n_atoms} atoms is {low:g} to {high:g} of "
                "them; take a larger supercell or a wider fraction"
            )
        if self.settings.mixed_variants and 2 * fewest > most:
            raise UnusableItem(
                f"{self.host.id}: {most} defects at most are too few for two kinds with "
                f"{fewest} of its {self.n_atoms} atoms each; take a larger supercell or a wider "
                "fraction"
            )
        return fewest, most

    @property
    def most_defects(self) -> int:
        """Of any variant."""
        held = KIND_SETS[1 : self.settings.n_labels]
        return max(self.count_range(kinds)[1] for kinds in held)

    def _draw_numbers(self, rng: np.random.Generator, kinds: tuple[str, ...]) -> tuple[int, ...]:
        """Number of defects of each of `KINDS`: all together, and how two kinds share them."""
        if not kinds:
            return (0,) * len(KINDS)
        fewest, most = self.count_range(kinds)
        at, fraction = np.float64(rng.random()), self.settings.fraction_of(kinds)
        total = int(number_of_defects(at, fraction, self.n_atoms, len(kinds), fewest, most))
        first = total
        if len(kinds) == 2:
            first = int(rng.integers(*share_of_first(total, fewest), endpoint=True))
        numbers = dict(zip(kinds, (first, total - first), strict=False))
        return tuple(numbers.get(kind, 0) for kind in KINDS)

    def _draw_impurity(self, rng: np.random.Generator, kinds: tuple[str, ...]) -> str:
        choices = self.impurities_of(kinds)
        return choices[rng.integers(len(choices))]

    def _draw_places(
        self, rng: np.random.Generator, n_defects: tuple[int, ...], orbits: tuple[int, ...]
    ) -> Occupied:
        """A place for each defect, in the order of `rules.spans`; interstitials on these orbits."""
        vacancies, self_interstitials, substitutions, interstitials = n_defects
        on_host = between = NOWHERE
        if vacancies + substitutions:
            chosen = rng.permutation(self.n_atoms)[: vacancies + substitutions]
            on_host = self.host_places[chosen]
        if self_interstitials + interstitials:
            between = self._draw_interstitials(rng, self_interstitials + interstitials, orbits)
        if self_interstitials and interstitials:
            # The first that were put had more room around them.
            between = between[rng.permutation(len(between.site))]
        own, foreign = between[:self_interstitials], between[self_interstitials:]
        return _joined(on_host, foreign, own)

    def _draw_interstitials(
        self, rng: np.random.Generator, count: int, orbits: tuple[int, ...]
    ) -> Occupied:
        """Interstitials on one kind of site, put at random where none is too near.

        Other kinds of site are tried in a random order where the first has no room.
        """
        for orbit in rng.permutation(orbits):
            places = self.interstitial_places[orbit]
            shuffled = places[rng.permutation(len(places.site))]
            chosen = self.crystal.sites.first_apart(shuffled, self.too_near, count)
            if len(chosen.site) == count:
                return chosen
        raise UnusableItem(
            f"{self.host.id}: no room for {count} interstitials at least "
            f"{self.least_separation:.2f} A apart; lower the fraction or the separation"
        )

    @cached_property
    def least_separation(self) -> float:
        """Least distance of two interstitials, A."""
        return self.settings.separation * self.host.nearest_neighbour

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
    def host_places(self) -> Occupied:
        """Every atom of the host's supercell."""
        return self._copies(0, len(self.host.frac))

    @cached_property
    def interstitial_places(self) -> list[Occupied]:
        """Every copy of each kind of interstitial site in the supercell."""
        starts = np.cumsum([len(self.host.frac), *(len(orbit.frac) for orbit in self.orbits)])
        return [self._copies(*ends) for ends in pairwise(starts.tolist())]

    def _copies(self, start: int, stop: int) -> Occupied:
        """Every copy in the supercell of some consecutive sites of the unit cell."""
        cells = np.indices(self.settings.supercell).reshape(3, -1).T
        sites = np.arange(start, stop)
        return Occupied(np.repeat(sites, len(cells)), np.tile(cells, (len(sites), 1)))


def _joined(*parts: Occupied) -> Occupied:
    return Occupied(
        np.concatenate([part.site for part in parts]), np.concatenate([part.cell for part in parts])
    )


def _seed_sequence(seed: int, host_id: str, variant: int) -> np.random.SeedSequence:
    words = np.frombuffer(hashlib.sha256(host_id.encode()).digest()[:16], dtype="<u4")
    return np.random.SeedSequence(seed, spawn_key=(*words.tolist(), variant))
