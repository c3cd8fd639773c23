"""Fraction and element of a defect by a fit of each kind's mean G(r), in a host that is known.

Where a network generalises from other hosts, this uses the host's own structure and the table of
elements. docs/identifiability.md derives the mean G(r) and what of it can be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.linalg import orth
from scipy.special import logsumexp

from defectgen.hosts.host import Host
from defectgen.point_defects.settings import (
    IMPURITY_KINDS,
    INTERSTITIAL_KINDS,
    DefectSettings,
)
from defectgen.point_defects.variants import HostSupercell
from defectgen.samples import Stage, UnusableItem
from defectgen.stages.relaxed import Relaxed
from hpc.observables.pdf import PDFSettings
from pdfcalc.crystals.scattering import lack_of
from train.problems.defects.inputs import PairInput, without
from train.problems.defects.pair_profiles import PairProfiles, Shares
from train.problems.defects.relaxed_additions import RelaxedAdditions
from train.problems.defects.relaxed_means import RelaxedMeans, State

_FRACTIONS = 101
"""Fractions to compare, from none to the most that the settings allow."""
_FRACTIONS_OF_RELAXED = 41
"""As many of relaxed defects, up to the most that each kind has."""
_SCATTER, _OF_SCATTER = 0.3, 8
"""Of the change by relaxed defects, the part that depends on where these are, and as how many
independent errors it counts: by trial, so that deviations hold (docs/training.md, "Fits")."""
_DRAWS = 4
"""Samples of which the mean of a relaxed defect is taken."""
_PRECISION = 3e-5
"""Deviation of formula from engine, over the largest |G|."""
_LEAST_SHOWN = 0.01  # probability of an element


@dataclass(frozen=True, eq=False)
class KindFit:
    """What a kind of defect makes of a change of G(r).

    Args:
        fraction: of host atoms: median and standard deviation.
        elements: probability of each impurity, likeliest first, those above 1 %; empty where the
            kind has none. All of the settings are as likely beforehand.
        log_evidence: ln of the mean likelihood over all fractions, elements and kinds of site, to
            be compared with that of other kinds.
        change: (R,) what the best fraction and element do to G(r), less what a refinement of the
            host takes up of it, 1/A^2.
    """

    fraction: tuple[float, float]
    elements: dict[str, float]
    log_evidence: float
    change: np.ndarray

    def record(self) -> dict[str, Any]:
        """For JSON, without the curve."""
        value, deviation = self.fraction
        return {
            "fraction": {"value": value, "deviation": deviation},
            "elements": self.elements,
            "log_evidence": self.log_evidence,
        }


def relaxed_only(stages: Sequence[Stage]) -> Relaxed | None:
    """How atoms relax around defects, if that is all that happens to samples of a store."""
    return stages[0] if len(stages) == 1 and isinstance(stages[0], Relaxed) else None


class _Atom(NamedTuple):
    """An atom of a defect; z is its scattering power over the host's, uiso in A^2."""

    element: str
    z: float
    uiso: float


class DefectFit:
    """A host prepared for fits of its defects.

    A trace is as likely under a fraction, an element and a kind of site as its deviation from
    their mean G(r) is as white noise of unknown size on the independent points of its range:
    range x qmax / pi (C. L. Farrow et al., Phys. Rev. B 84 (2011) 134105, DOI
    10.1103/PhysRevB.84.134105). Slow errors, and the scatter of random places, are no such noise,
    so the standard deviations are what the noise alone leaves.

    Args:
        inputs: of a run, whose absorbed parameters the fit leaves free, too. A run that scales
            each trace by itself knows no scale, so the fit has none either.
        repeated: whether the traces are of supercells that repeat, as those of a store.
        relaxed: how atoms relax around the defects; None where they stay on their sites. Traces
            are then compared with the host that was refined against each of them.
        scale: standard deviation of the scale of the traces, relative.
    """

    def __init__(
        self,
        host: Host,
        defects: DefectSettings,
        pdf: PDFSettings,
        inputs: PairInput,
        repeated: bool = True,
        relaxed: Relaxed | None = None,
        scale: float = 0.0,
    ) -> None:
        self._scale = scale
        self._repeated = repeated
        self._supercell, self._pdf = HostSupercell(host, defects), pdf
        r = pdf.parameters.r[pdf.stored]
        self._r, self._inputs = r, inputs
        if inputs.scaling == "trace" and "scale" not in inputs.absorbed:
            self._inputs = PairInput("shared", (*inputs.absorbed, "scale"), r.tolist())
        own = _Atom(host.element, 1.0, host.uiso)
        atoms = {kind: [own] for kind in defects.kinds}
        for kind in set(IMPURITY_KINDS) & set(defects.kinds):
            atoms[kind] = list(_foreign_atoms(self._supercell, pdf, kind))
        self._atoms = {kind: some for kind, some in atoms.items() if some}
        """Of defects of each kind that there can be; vacancies count as the host's own."""
        self._additions: RelaxedAdditions | None = None
        most = dict.fromkeys(defects.kinds, defects.highest_fraction)
        n_fractions = _FRACTIONS
        if relaxed is not None:
            means = RelaxedMeans(host, self._with_known(defects), pdf, relaxed, _DRAWS)
            self._additions = RelaxedAdditions(means, relaxed.amplitude)
            most = {kind: defects.fraction_of((kind,))[1] for kind in defects.kinds}
            n_fractions = _FRACTIONS_OF_RELAXED
        self._x = {kind: np.linspace(0, most[kind], n_fractions) for kind in defects.kinds}

    def __call__(self, pristine: np.ndarray, defective: np.ndarray) -> list[dict[str, KindFit]]:
        """A fit of each kind of defect to each of n traces.

        Args:
            pristine: (R,) G(r) of the host, 1/A^2, zero where nothing was measured.
            defective: (n, R) of the host with defects.
        """
        inside = pristine != 0
        taken_up = self._taken_up(pristine)
        change = without((defective - pristine) * inside, taken_up)
        scale = without(pristine * inside, taken_up)
        floor = inside.sum() * (_PRECISION * np.abs(pristine).max()) ** 2
        independent = np.ptp(self._r[inside]) * self._pdf.qmax / math.pi
        independent -= len(self._inputs.absorbed)
        squares = np.square(change).sum(axis=1)
        means, left = {}, {}
        for kind, of in self._means.items():
            means[kind] = without(of * inside, taken_up)
            products = means[kind] @ change.T
            residuals = np.square(means[kind]).sum(axis=-1)[..., None] - 2 * products + squares
            left[kind] = np.ascontiguousarray(np.moveaxis(residuals, -1, 0)).clip(0) + floor
        found = []
        for row, square in enumerate(squares.tolist()):
            of_row = {kind: residuals[row] for kind, residuals in left.items()}
            points = self._points(of_row, square, independent)
            found.append(
                {
                    kind: self._fit(kind, -0.5 * points * np.log(above), means[kind], scale)
                    for kind, above in of_row.items()
                }
            )
        return found

    def host_before(self, fits: dict[str, KindFit]) -> Host:
        """The host less what the likeliest relaxed defect of a trace adds to Uiso as refined."""
        host = self._supercell.host
        if self._additions is None:
            return host
        kind, fit = max(fits.items(), key=lambda item: item[1].log_evidence)
        element = next(iter(fit.elements), None)
        orbits = self._supercell.orbits_of(element) if kind in INTERSTITIAL_KINDS else [None]
        try:
            growth = self._additions.means.displacing(State(kind, element, next(iter(orbits))))
        except UnusableItem:
            return host
        return host.changed(host.a, host.c, host.uiso / (1 + max(growth, 0.0) * fit.fraction[0]))

    def _points(self, left: dict[str, np.ndarray], change: float, independent: float) -> float:
        """How many independent errors the best fit's stand for, of a change of such a square.

        White noise has as many as there are independent points. Relaxed defects at random places
        leave a part of the change that is like it in form, and so of few.
        """
        if self._additions is None:
            return independent
        least = min(float(of.min()) for of in left.values())
        scatter = min(least, _SCATTER**2 * max(change - least, 0.0))
        return least / ((least - scatter) / independent + scatter / _OF_SCATTER)

    def _taken_up(self, pristine: np.ndarray) -> np.ndarray:
        """(R, K) orthonormal changes of a trace that a refinement of the host takes up."""
        if not self._inputs.absorbed:
            return np.empty((len(pristine), 0))
        return orth(self._inputs.tangents(torch.from_numpy(pristine)[None])[0].numpy())

    def _fit(
        self, kind: str, log_likelihood: np.ndarray, expected: np.ndarray, scale: np.ndarray
    ) -> KindFit:
        """Of one trace, by log-likelihoods (orbits, elements, fractions) of what is expected.

        Args:
            scale: (R,) what is left of a change of the scale, relative.
        """
        priors = self._log_priors(kind)
        amplitudes = len(log_likelihood) // len(priors)
        log_likelihood = log_likelihood + np.repeat(priors, amplitudes, axis=0)[..., None]
        total = logsumexp(log_likelihood)
        posterior = np.exp(log_likelihood - total).sum(axis=0)
        of_fraction, of_element = posterior.sum(axis=0), posterior.sum(axis=1)
        x = self._x[kind]
        median = float(x[np.searchsorted(of_fraction.cumsum(), 0.5)])
        variance = of_fraction @ (x - median) ** 2 + x[1] ** 2 / 12
        elements = {}
        if kind in IMPURITY_KINDS:
            names = [atom.element for atom in self._atoms[kind]]
            ranked = sorted(zip(of_element.tolist(), names, strict=True), reverse=True)
            elements = {name: p for p, name in ranked if p >= _LEAST_SHOWN}
        best = np.unravel_index(log_likelihood.argmax(), log_likelihood.shape)
        evidence = float(total) - math.log(amplitudes * len(x))
        # A view would keep all that is expected of a host, some 60 MB of each.
        change = expected[best].copy()
        most = expected[best[:-1]][-1]
        if power := float(most @ most):
            variance += (self._scale * x[-1] * float(most @ scale) / power) ** 2
        return KindFit((median, math.sqrt(variance)), elements, evidence, change)

    def _with_known(self, defects: DefectSettings) -> DefectSettings:
        """Of the impurities those that have a scattering length."""
        foreign = {
            atom.element
            for kind, atoms in self._atoms.items()
            for atom in atoms
            if kind in IMPURITY_KINDS
        }
        known = tuple(one for one in defects.impurities if one in foreign)
        return defects.model_copy(update={"impurities": known})

    def _log_priors(self, kind: str) -> np.ndarray:
        """(orbits, elements) ln of the probability beforehand: each kind of site that an element
        may have is as likely."""
        atoms, foreign = self._atoms[kind], kind in IMPURITY_KINDS
        if kind not in INTERSTITIAL_KINDS:
            return np.full((1, len(atoms)), -math.log(len(atoms)))
        priors = np.full((len(self._supercell.orbits), len(atoms)), -np.inf)
        for place, atom in enumerate(atoms):
            open_ = list(self._supercell.orbits_of(atom.element if foreign else None))
            priors[open_, place] = -math.log(len(open_) * len(atoms))
        return priors

    @cached_property
    def _means(self) -> dict[str, np.ndarray]:
        """(orbits, elements, fractions, R) mean change of G(r) by each kind, 1/A^2."""
        host_uiso = self._supercell.host.uiso
        displacements = [
            host_uiso,
            *(atom.uiso for atoms in self._atoms.values() for atom in atoms),
        ]
        bounds = 2 * min(displacements), 2 * max(displacements)
        profiles = PairProfiles(self._supercell, self._pdf, bounds, self._repeated)
        pristine = profiles.mean_pdf(
            profiles.vacancies(np.zeros(1)), profiles.profiles((host_uiso, host_uiso))
        )
        means = {}
        for kind, atoms in self._atoms.items():
            n = self._x[kind] * profiles.n_atoms
            between = kind in INTERSTITIAL_KINDS
            states = [
                [
                    profiles.mean_pdf(
                        _shares(profiles, kind, n, atom.z),
                        profiles.profiles((host_uiso, atom.uiso), orbit),
                    )
                    for atom in atoms
                ]
                for orbit in (range(len(profiles.around)) if between else [None])
            ]
            means[kind] = self._with_relaxed(kind, np.array(states) - pristine)
        return means

    def _with_relaxed(self, kind: str, rigid: np.ndarray) -> np.ndarray:
        """(orbits x amplitudes, elements, fractions, R) of those on sites (orbits, ...)."""
        if self._additions is None:
            return rigid
        atoms = self._atoms[kind]
        elements = [atom.element for atom in atoms] if kind in IMPURITY_KINDS else [None]
        states = []
        for orbit, of_orbit in enumerate(rigid):
            place = orbit if kind in INTERSTITIAL_KINDS else None
            added = [
                self._additions.of(State(kind, element, place), self._x[kind])
                for element in elements
            ]
            states.append(of_orbit + np.stack(added, axis=1))
        return np.concatenate(states)


def _foreign_atoms(supercell: HostSupercell, pdf: PDFSettings, kind: str) -> Iterator[_Atom]:
    """The impurities of a kind, but for those of no tabulated neutron scattering length."""
    parameters, host = pdf.parameters, supercell.host
    power = parameters.scattering_power(host.element)
    for element in supercell.settings.impurities_of(host.element, (kind,)):
        if lack_of(element, parameters.scattering) is None:
            z = parameters.scattering_power(element) / power
            yield _Atom(element, z, supercell.uiso_of(element).median)


def _shares(profiles: PairProfiles, kind: str, n: np.ndarray, z: float) -> Shares:
    if kind in INTERSTITIAL_KINDS:
        return profiles.interstitials(n, z)
    return profiles.substitutions(n, z) if kind == "substitution" else profiles.vacancies(n)
