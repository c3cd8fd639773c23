"""Fraction and element of a defect by a fit of each kind's mean G(r), in a host that is known.

Where a network generalises from other hosts, this uses the host's own structure and the table of
elements. docs/identifiability.md derives the mean G(r) and what of it can be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from scipy.linalg import orth
from scipy.special import logsumexp

from defectgen.hosts.elements import atomic_number
from defectgen.hosts.host import Host
from defectgen.point_defects.settings import (
    IMPURITY_KINDS,
    INTERSTITIAL_KINDS,
    KINDS,
    DefectSettings,
)
from defectgen.point_defects.variants import HostSupercell
from hpc.observables.pdf import PDFSettings
from hpc.store.inputs import has_its_items
from hpc.store.store import Store
from pdfcalc.crystals.scattering import lack_of
from train.judging.evaluation import Judged
from train.judging.scores import score_errors
from train.problems.defects.examples import DefectExamples
from train.problems.defects.inputs import PairInput, without
from train.problems.defects.pair_profiles import PairProfiles, Shares

if TYPE_CHECKING:
    from train.problems.defects.task import DefectTask

_FRACTIONS = 101
"""Fractions to compare, from none to the most that the settings allow."""
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
    """

    def __init__(
        self,
        host: Host,
        defects: DefectSettings,
        pdf: PDFSettings,
        inputs: PairInput,
        repeated: bool = True,
    ) -> None:
        self._repeated = repeated
        self._supercell, self._pdf = HostSupercell(host, defects), pdf
        r = pdf.parameters.r[pdf.stored]
        self._r, self._inputs = r, inputs
        if inputs.scaling == "trace" and "scale" not in inputs.absorbed:
            self._inputs = PairInput("shared", (*inputs.absorbed, "scale"), r.tolist())
        own = _Atom(host.element, 1.0, host.uiso)
        self._atoms = {
            kind: list(_foreign_atoms(self._supercell, pdf, kind))
            if kind in IMPURITY_KINDS
            else [own]
            for kind in defects.kinds
        }
        """Of defects of each kind; vacancies count as the host's own."""
        self._x = np.linspace(0, defects.highest_fraction, _FRACTIONS)

    def __call__(self, pristine: np.ndarray, defective: np.ndarray) -> list[dict[str, KindFit]]:
        """A fit of each kind of defect to each of n traces.

        Args:
            pristine: (R,) G(r) of the host, 1/A^2, zero where nothing was measured.
            defective: (n, R) of the host with defects.
        """
        inside = pristine != 0
        taken_up = self._taken_up(pristine)
        change = without((defective - pristine) * inside, taken_up)
        squares = np.square(change).sum(axis=1)
        floor = inside.sum() * (_PRECISION * np.abs(pristine).max()) ** 2
        independent = np.ptp(self._r[inside]) * self._pdf.qmax / math.pi
        independent -= len(self._inputs.absorbed)
        found: list[dict[str, KindFit]] = [{} for _ in change]
        for kind, means in self._means.items():
            expected = without(means * inside, taken_up)
            products = expected @ change.T
            residuals = np.square(expected).sum(axis=-1)[..., None] - 2 * products + squares
            for fits, residual in zip(found, np.moveaxis(residuals, -1, 0), strict=True):
                above = residual.clip(0) + floor
                fits[kind] = self._fit(kind, -0.5 * independent * np.log(above), expected)
        return found

    def _taken_up(self, pristine: np.ndarray) -> np.ndarray:
        """(R, K) orthonormal changes of a trace that a refinement of the host takes up."""
        if not self._inputs.absorbed:
            return np.empty((len(pristine), 0))
        return orth(self._inputs.tangents(torch.from_numpy(pristine)[None])[0].numpy())

    def _fit(self, kind: str, log_likelihood: np.ndarray, expected: np.ndarray) -> KindFit:
        """Of one trace, by log-likelihoods (orbits, elements, fractions) of what is expected."""
        log_likelihood = log_likelihood + self._log_priors(kind)[..., None]
        total = logsumexp(log_likelihood)
        posterior = np.exp(log_likelihood - total).sum(axis=0)
        of_fraction, of_element = posterior.sum(axis=0), posterior.sum(axis=1)
        median = float(self._x[np.searchsorted(of_fraction.cumsum(), 0.5)])
        variance = of_fraction @ (self._x - median) ** 2 + self._x[1] ** 2 / 12
        elements = {}
        if kind in IMPURITY_KINDS:
            names = [atom.element for atom in self._atoms[kind]]
            ranked = sorted(zip(of_element.tolist(), names, strict=True), reverse=True)
            elements = {name: p for p, name in ranked if p >= _LEAST_SHOWN}
        best = np.unravel_index(log_likelihood.argmax(), log_likelihood.shape)
        evidence = float(total) - math.log(len(self._x))
        # A view would keep all that is expected of a host, some 60 MB of each.
        change = expected[best].copy()
        return KindFit((median, math.sqrt(variance)), elements, evidence, change)

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
        n = self._x * profiles.n_atoms
        pristine = profiles.mean_pdf(
            profiles.vacancies(np.zeros(1)), profiles.profiles((host_uiso, host_uiso))
        )
        means = {}
        for kind, atoms in self._atoms.items():
            if not atoms:
                continue
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
            means[kind] = np.array(states) - pristine
        return means


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


def score_fits(found: Judged, problem: DefectTask) -> dict[str, Any]:
    """How good fits are of the rows of a part that have one kind of defect.

    Returns:
        `n`; `accuracy` of the kind of most evidence; of the `fraction` in it the mean absolute
        error, by class as well, and which part of the rows lies within one and two standard
        deviations; `element_accuracy`, how often the likeliest element is the impurity.

    Raises:
        ValueError: the store lacks the hosts that it was made from, or the part such rows.
    """
    examples = cast(DefectExamples, found.examples)
    names = np.array(problem.classes)[examples.target[found.rows]]
    single = np.flatnonzero(np.isin(names, KINDS))
    if not len(single):
        raise ValueError(f"{examples.path}: the part has no PDF of a single kind of defect")
    fits = fit_rows(examples, found.rows[single], problem.inputs())
    at = tuple(examples.rows[found.rows[single]].T)
    kinds = [max(of_row, key=lambda kind: of_row[kind].log_evidence) for of_row in fits]
    chosen = [of_row[kind] for of_row, kind in zip(fits, kinds, strict=True)]
    median, deviation = np.array([fit.fraction for fit in chosen]).T
    error = median - examples.concentration[at]
    impurity = examples.impurity[at]
    likeliest = np.array(
        [atomic_number(next(iter(fit.elements))) if fit.elements else 0 for fit in chosen]
    )
    is_impure = impurity > 0
    return {
        "n": len(single),
        "accuracy": float(np.mean(names[single] == kinds)),
        "fraction": score_errors(error, deviation, names[single]),
        "element_accuracy": (
            float(np.mean((impurity == likeliest)[is_impure])) if is_impure.any() else None
        ),
    }


def fit_rows(
    examples: DefectExamples, rows: np.ndarray, inputs: PairInput
) -> list[dict[str, KindFit]]:
    """Fits of positions (n,) in `examples.rows`, each in the host as the store's library has it."""
    whole = Store(examples.path)
    if not has_its_items(whole):
        raise ValueError(f"{examples.path} does not hold the library.json that it was made with")
    description, hosts = whole.description, cast("Sequence[Host]", whole.items)
    structure, variant = examples.rows[rows].T
    fits: dict[int, dict[str, KindFit]] = {}
    for index in np.unique(structure).tolist():
        mine = np.flatnonzero(structure == index)
        g = examples.read(examples.trace.array, np.array([index]))[0].astype(float)
        fit = DefectFit(hosts[index], description.defects, description.pdf, inputs)
        fits |= zip(mine.tolist(), fit(g[0], g[variant[mine]]), strict=True)
    return [fits[row] for row in range(len(rows))]
