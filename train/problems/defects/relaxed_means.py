"""What relaxed defects change in a host's G(r) on average, once the host was refined.

docs/identifiability.md ("What relaxation adds") has the theory. For atoms on their sites the mean
is that of `pair_profiles`, exactly; what relaxation adds to it is simulated, as the difference of
the same samples relaxed and not, in which the scatter of random places is gone.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from defectgen.hosts.host import Host
from defectgen.point_defects.settings import (
    IMPURITY_KINDS,
    INTERSTITIAL_KINDS,
    KINDS,
    DefectSettings,
)
from defectgen.point_defects.variants import HostSupercell
from defectgen.samples import LatticeView, Resources, Sample, UnusableItem
from defectgen.stages.relaxed import Relaxed
from hpc.observables.pdf import PDFSettings
from pdfcalc import calculate_pdf
from pdfcalc.crystals.displacements import Occupied
from pdfcalc.pdf.cell_fit import CellFit, RefinableCrystal
from train.problems.defects.pair_profiles import PairProfiles

FRACTIONS = {
    "vacancy": 0.012,
    "self_interstitial": 0.006,
    "substitution": 0.03,
    "interstitial": 0.006,
}
"""Of host atoms in the simulated samples; what they change is taken to grow in proportion."""
_FEW = 1e-4
"""Fraction of rigid defects by which the formulas' mean is divided: its derivative at none."""
_STEP = 1e-4
"""Of difference quotients, relative."""


class State(NamedTuple):
    """What a defect is: its kind, the element of an impurity, the kind of interstitial site."""

    kind: str
    element: str | None = None
    orbit: int | None = None


def in_cell(r: np.ndarray, left: np.ndarray, stretch: float) -> np.ndarray:
    """(R,) what a host leaves that was stretched by so much, as a function of r in its old cell.

    A solid solution's cell differs by percents, which moves far peaks by more than their width.
    Zero where there is nothing.
    """
    inside = r * stretch <= r[-1]
    return np.where(inside, CubicSpline(r, left)(np.minimum(r * stretch, r[-1])), 0.0)


class RelaxedMeans:
    """A host prepared for the means of its relaxed defects.

    Args:
        defects: of which the supercell, the impurities, their displacements and the separation.
        stage: how atoms relax; its amplitude is that of each mean.
        draws: samples that each mean is of.
    """

    def __init__(
        self,
        host: Host,
        defects: DefectSettings,
        pdf: PDFSettings,
        stage: Relaxed | None = None,
        draws: int = 8,
    ) -> None:
        self.host, self.pdf = host, pdf
        self._stage, self._draws = stage or Relaxed(), draws
        self._supercell = HostSupercell(host, defects)
        self._points, self._r = pdf.stored.tolist(), pdf.parameters.r[pdf.stored]
        self._refinable = RefinableCrystal(host.atoms, pdf.parameters, self._points)
        self._unchanged = np.ones(len(self._refinable.axes))
        self._last: tuple[State, list[Sample], np.ndarray] | None = None
        self.pristine = self._refinable.pdf(self._unchanged, 1.0)
        """(R,) G(r) of the host, 1/A^2."""

    @cached_property
    def states(self) -> list[State]:
        """All that a defect may be in this host."""
        impurities = self.impurities
        orbits = range(len(self._supercell.orbits))
        return [
            State(kind, element, orbit)
            for kind in self._supercell.settings.kinds
            for element in (impurities if kind in IMPURITY_KINDS else [None])
            for orbit in (orbits if kind in INTERSTITIAL_KINDS else [None])
        ]

    @property
    def impurities(self) -> tuple[str, ...]:
        """That defects may be of."""
        return self._supercell.settings.impurities_of(self.host.element, KINDS)

    def contrast(self, state: State) -> float:
        """Scattering power of the defects over the host's."""
        power = self.pdf.parameters.scattering_power
        return 1.0 if state.element is None else power(state.element) / power(self.host.element)

    @cached_property
    def tangents(self) -> np.ndarray:
        """(K, R) derivatives of the host's G(r) by the lengths of its cell and by its Uiso."""
        moved = [
            self._refinable.pdf(self._unchanged + step[:-1], 1 + step[-1])
            for step in _STEP * np.eye(len(self._unchanged) + 1)
        ]
        return (np.array(moved) - self.pristine) / _STEP

    def rigid(self, state: State) -> np.ndarray:
        """(R,) what such defects change with atoms on their sites, for each one a host atom.

        Of a crystal without end, and of few defects: 1/A^2, the derivative by the fraction.
        """
        host, z = self.host, self.contrast(state)
        uiso = self._supercell.uiso_of(state.element).median
        profiles, n = self._profiles, np.array([0.0, _FEW * self._supercell.n_atoms])
        if state.kind in INTERSTITIAL_KINDS:
            shares = profiles.interstitials(n, z)
        elif state.kind == "substitution":
            shares = profiles.substitutions(n, z)
        else:
            shares = profiles.vacancies(n)
        none, few = profiles.mean_pdf(shares, profiles.profiles((host.uiso, uiso), state.orbit))
        return (few - none) / _FEW

    def by_relaxing(self, state: State, amplitude: float) -> np.ndarray:
        """(R,) what relaxing adds to what the refined host leaves, for each defect a host atom.

        Raises:
            UnusableItem: the host has no room for such defects, or can't relax around them.
        """
        samples, at_rest = self._drawn(state)
        stage = self._stage.model_copy(update={"amplitude": (amplitude, amplitude)})
        added = self._left(stage.apply(samples, Resources())) - at_rest
        return added.mean(axis=0) / self.fraction(state)

    def displacing(self, state: State) -> float:
        """By how much Uiso as refined grows with such defects, relative, for each one a host atom.

        Raises:
            UnusableItem: as of `by_relaxing`.
        """
        stage = self._stage.model_copy(update={"amplitude": (1.0, 1.0)})
        relaxed = stage.apply(self.samples(state), Resources())
        growth = [self._refined(sample)[1].uiso - 1 for sample in relaxed]
        return float(np.mean(growth)) / self.fraction(state)

    def fraction(self, state: State) -> float:
        """Of host atoms, in the simulated samples."""
        return self._count(state) / self._supercell.n_atoms

    def _drawn(self, state: State) -> tuple[list[Sample], np.ndarray]:
        """Samples of such defects, and what the host leaves of them while atoms are on sites."""
        if self._last is None or self._last[0] != state:
            samples = self.samples(state)
            self._last = state, samples, self._left(samples)
        return self._last[1:]

    def _left(self, samples: list[Sample]) -> np.ndarray:
        """(n, R) what the host leaves of samples, refined against each, in its own cell, 1/A^2."""
        left = []
        for g, fit in map(self._refined, samples):
            left.append(in_cell(self._r, g - fit.g, self._stretch(fit.lengths)))
        return np.array(left)

    def _refined(self, sample: Sample) -> tuple[np.ndarray, CellFit]:
        """(R,) G(r) of a sample, 1/A^2, and the host that fits it best."""
        atoms = sample.atoms()
        g = calculate_pdf(atoms, self.pdf.parameters)[1][self._points]
        try:
            return g, self._refinable.fit(g, self._refinable.lengths_in(atoms.lattice))
        except ValueError as error:
            raise UnusableItem(f"{self.host.id}: {error}") from None

    def _stretch(self, lengths: np.ndarray) -> float:
        """The cube root of the ratio of volumes, of ratios of lengths (K,)."""
        counts = [len(some) for some in self._refinable.axes.values()]
        return float(np.prod(lengths**counts) ** (1 / 3))

    def _count(self, state: State) -> int:
        return max(1, round(FRACTIONS[state.kind] * self._supercell.n_atoms))

    def samples(self, state: State) -> list[Sample]:
        """With so many of such defects at random, atoms on their sites.

        Raises:
            UnusableItem: the host has no room for them.
        """
        supercell, count, kind = self._supercell, self._count(state), KINDS.index(state.kind)
        numbers = tuple(count if place == kind else 0 for place in range(len(KINDS)))
        uiso = supercell.uiso_of(state.element).median
        rng = np.random.default_rng([kind, state.orbit or 0])
        samples = []
        for draw in range(self._draws):
            change = supercell.change_of(
                numbers, state.element, uiso, self._places(state.orbit, count, rng)
            )
            samples.append(
                Sample(
                    key=(0, self.host.id, draw),
                    atoms=partial(supercell.crystal.changed, change),
                    lattice=LatticeView(supercell.crystal, change),
                )
            )
        return samples

    def _places(self, orbit: int | None, count: int, rng: np.random.Generator) -> Occupied:
        supercell = self._supercell
        of_kind = supercell.host_places if orbit is None else supercell.interstitial_places[orbit]
        places = of_kind[rng.permutation(len(of_kind.site))]
        if orbit is None:
            return places[:count]
        apart = supercell.crystal.sites.first_apart(places, supercell.too_near, count)
        if len(apart.site) < count:
            raise UnusableItem(f"{self.host.id}: no room for {count} interstitials")
        return apart

    @cached_property
    def _profiles(self) -> PairProfiles:
        supercell = self._supercell
        foreign = (supercell.uiso_of(one).median for one in self.impurities)
        every = [self.host.uiso, *foreign]
        bounds = 2 * min(every), 2 * max(every)
        return PairProfiles(supercell, self.pdf, bounds, repeated=False)
