"""How much of each defect a measurement leaves room for, by fits to what its host leaves.

What a defect changes in G(r) is the mean of simulated samples of the refined host, atoms relaxed
around the defects and not, on the instrument of the measurement. What the refinement of the host
takes up of that is gone before it is compared with what the host left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.linalg import orth
from scipy.stats import chi2
from scipy.stats import t as student

from defectgen.hosts.elements import LIGHT, metals
from defectgen.hosts.host import Host
from defectgen.point_defects.settings import IMPURITY_KINDS, KINDS, DefectSettings
from defectgen.samples import Resources, Sample, UnusableItem
from defectgen.sources.defects import Defects
from defectgen.stages.relaxed import Relaxed
from pdfcalc import calculate_pdf
from pdfcalc.crystals.scattering import lack_of
from pdfcalc.measured.refinement import BEYOND, Refinement
from pdfcalc.pdf.cell_fit import RefinableCrystal
from pdfcalc.pdf.parameters import PDFParameters
from train.problems.defects.inputs import without
from train.problems.defects.relaxed_means import FRACTIONS

LEVEL = 0.95
MOST = 0.1
"""The highest fraction of host atoms of which anything is said."""
_AMPLITUDES = dict.fromkeys(KINDS, (0.7, 1.0)) | {"vacancy": (1.0,)}
"""Factors of relaxation volumes, which are known no better than by 30 %; larger ones show more.
Limits of vacancies hold without (`benchmarks.studies.limits`)."""
_MODEL = 0.35
"""Relative standard deviation of what a defect is simulated to do, where its sites, how far it
relaxes the host and how that grows with the fraction are not known: by trial, on simulated
measurements of which a defect can be seen well (`benchmarks.studies.limits`)."""
_MODEL_OF_LIMIT = {
    "vacancy": 0.45,
    "self_interstitial": 0.3,
    "substitution": 0.55,
    "interstitial": 0.85,
}
"""The same in the tails, where it is not normal: by trial, so that limits hold for 95 % of 1,172
simulated measurements, which are none of those that `benchmarks.studies.limits` counts."""
_LEAST_ALIKE = 0.1
"""Part of a simulated change that two halves of the samples must have in common."""
_LAGS, _LEAST = 10, 0.01
"""Neighbours to look for correlation among, and the probability from which on there is some."""
_STEP = 0.05  # A, by which two ranges may differ
_SPACING, _MARGIN = 0.05, 0.5
"""A between points of simulated samples, and how far beyond the measurement these go."""
_DRAWS, _DRAWS_OF_ELEMENT = 24, 8
"""Samples of which the mean is taken, and of each impurity, which are many."""


@dataclass(frozen=True, eq=False)
class Change:
    """What a kind of defect changes in G(r) for each one a host atom.

    Args:
        element: of the impurity; None where the kind has none.
        amplitude: factor of the relaxation volume; 0 where atoms stay on their sites.
        g: (2, m) at the points that were fitted, of scale 1, 1/A^2; the means of two halves of the
            samples, which scatter independently.
    """

    kind: str
    element: str | None
    amplitude: float
    g: np.ndarray


@dataclass(frozen=True)
class Bound:
    """A fit of a change to what the host left.

    Args:
        fraction, deviation: of host atoms, and its standard deviation, that of what is simulated
            included.
        significance: the fraction over what its deviation is by errors of the measurement alone.
        upper: that is exceeded with a probability of 1 - LEVEL; infinite where the measurement
            tells nothing.
        log_likelihood: ln of the likelihood over that of no defect.
        leaves_noise: whether what it leaves may be white noise, as of `is_noise`.
    """

    fraction: float
    deviation: float
    significance: float
    upper: float
    log_likelihood: float
    leaves_noise: bool


def defects_of(
    host: Host, scattering: str, impurities: Sequence[str] | None
) -> list[tuple[str, str | None]]:
    """All kinds of defect, each with the impurities that it can have of some.

    Args:
        impurities: None: all metals that such radiation sees.

    Raises:
        ValueError: one of the impurities can't be one.
    """
    every = DefectSettings(impurities=(*metals(), *LIGHT))
    by_kind = {kind: every.impurities_of(host.element, (kind,)) for kind in IMPURITY_KINDS}
    for one in impurities or ():
        if one not in by_kind["interstitial"]:
            raise ValueError(f"--impurity {one}: is none of {', '.join(by_kind['interstitial'])}")
        if why := lack_of(one, scattering):
            raise ValueError(f"--impurity {one}: {why}")
    seen = impurities or [one for one in metals() if lack_of(one, scattering) is None]
    found: list[tuple[str, str | None]] = []
    for kind in KINDS:
        if kind in IMPURITY_KINDS:
            found += [(kind, element) for element in seen if element in by_kind[kind]]
        else:
            found.append((kind, None))
    return found


def changes(
    host: Host, found: Refinement, defects: Iterable[tuple[str, str | None]]
) -> Iterator[Change]:
    """Of kinds and impurities in a refined host, by each way to relax, simulated.

    What the host has no room for, or can't relax around, is left out.
    """
    # Correlated motion, as delta2 has it, would leave atoms nearer than those of the host no width.
    simulated = _Simulated(
        host,
        replace(found.parameters, scale=1.0, rmin=0.0, rmax=found.r[-1] + BEYOND, delta2=0.0),
        found.r[found.points],
    )
    for kind, element in defects:
        try:
            samples = _samples(kind, element, host)
        except UnusableItem:
            continue
        fraction = np.mean([sample.values["concentration"] for sample in samples])
        for amplitude in (*_AMPLITUDES[kind], 0.0):
            try:
                yield Change(
                    kind, element, amplitude, simulated.left(samples, amplitude) / fraction
                )
            except (UnusableItem, ValueError):
                continue


def _samples(kind: str, element: str | None, host: Host) -> list[Sample]:
    x = FRACTIONS[kind]
    settings: dict[str, Any] = {
        "kinds": [kind],
        "fraction": (0.5 * x, 1.5 * x),
        "variants_per_kind": _DRAWS if element is None else _DRAWS_OF_ELEMENT,
        "impurity_uiso": "host",
        "separation": 2.0,
        "channel_sites": False,
    }
    if element is not None:
        settings["impurities"] = [element]
    return Defects(defects=DefectSettings.model_validate(settings)).draw(host, 0)[1:]


class _Simulated:
    """Samples of a host as an instrument sees them.

    Args:
        r: (m,) where their G(r) is wanted, A.
    """

    def __init__(self, host: Host, parameters: PDFParameters, r: np.ndarray) -> None:
        self._parameters, self._r = parameters, r
        grid = parameters.r
        inside = np.flatnonzero((grid > r[0] - _MARGIN) & (grid < r[-1] + _MARGIN))
        self._points = inside[:: max(1, round(_SPACING / parameters.rstep))].tolist()
        self._refinable = RefinableCrystal(host.atoms, parameters, self._points)

    def left(self, samples: list[Sample], amplitude: float) -> np.ndarray:
        """(2, m) what the host leaves of samples when refined against each, 1/A^2: the means of
        every other one.

        Raises:
            UnusableItem: their atoms can't be relaxed.
            ValueError: the host does not fit.
        """
        if amplitude:
            samples = Relaxed(amplitude=(amplitude, amplitude)).apply(samples, Resources())
        left = []
        for sample in samples:
            atoms = sample.atoms()
            g = calculate_pdf(atoms, self._parameters)[1][self._points]
            left.append(g - self._refinable.fit(g, self._refinable.lengths_in(atoms.lattice)).g)
        halves = np.stack([np.mean(left[start::2], axis=0) for start in (0, 1)])
        return CubicSpline(self._parameters.r[self._points], halves, axis=1)(self._r)


def less_faults(found: Refinement, undamaged: Refinement) -> Refinement:
    """A measurement less what a sample without defects leaves of the same host, at its scale.

    Raises:
        ValueError: that has not the range of r of the measurement.
    """
    r, other = found.r[found.points], undamaged.r
    if other[0] > r[0] + _STEP or other[-1] < r[-1] - _STEP:
        raise ValueError(
            f"the reference has r from {other[0]:g} to {other[-1]:g} A, and the measurement from "
            f"{r[0]:g} to {r[-1]:g} A: give --rmin and --rmax"
        )
    faults = CubicSpline(other, _left(undamaged))(found.r)
    return replace(found, g=found.g - found.values["scale"] * faults)


class Left:
    """What a refined host leaves of a measurement, at scale 1."""

    def __init__(self, found: Refinement) -> None:
        columns = np.column_stack([found.jacobian, _resolution(found)[found.points]])
        self._taken_up = orth(columns / np.linalg.norm(columns, axis=0))
        self._left = without(_left(found)[found.points], self._taken_up)

    @property
    def is_noise(self) -> bool:
        """Whether it may be white noise without any defect."""
        return is_noise(self._left)

    def fit(self, change: Change) -> Bound:
        """The fraction of least squares, for errors that may depend on their neighbours'.

        Simulated samples scatter, which would make the fraction too small; the product of two
        halves of them does not. Its deviation by errors of the measurement is the larger of that
        for white noise and that of W. K. Newey and K. D. West (Econometrica 55 (1987) 703, DOI
        10.2307/1913610).
        """
        first, second = without(change.g, self._taken_up)
        expected = 0.5 * (first + second)
        power, whole = float(first @ second), float(expected @ expected)
        free = len(self._left) - self._taken_up.shape[1] - 1
        if power <= _LEAST_ALIKE * whole:
            return Bound(0.0, math.inf, 0.0, math.inf, 0.0, self.is_noise)
        fraction = float(expected @ self._left) / power
        error = self._left - fraction * expected
        white = math.sqrt(error @ error / free * whole) / power
        measured = max(white, math.sqrt(_neighbours(expected * error)) / power)
        deviation = math.hypot(measured, _MODEL * fraction)
        doubt = math.hypot(measured, _MODEL_OF_LIMIT[change.kind] * fraction)
        upper = max(fraction, 0.0) + float(student.ppf(LEVEL, free)) * doubt
        ratio = float(self._left @ self._left) / float(error @ error)
        gain = 0.5 * len(self._left) * math.log(ratio)
        return Bound(fraction, deviation, fraction / measured, upper, gain, is_noise(error))


def is_noise(left: np.ndarray) -> bool:
    """Whether nothing speaks against values (n,) being white noise.

    By the test of G. M. Ljung and G. E. P. Box (Biometrika 65 (1978) 297, DOI
    10.1093/biomet/65.2.297).
    """
    n = len(left)
    lags = np.arange(1, min(_LAGS, n - 1) + 1)
    correlation = np.array([left[lag:] @ left[:-lag] for lag in lags]) / (left @ left)
    statistic = n * (n + 2) * np.sum(correlation**2 / (n - lags))
    return bool(chi2.sf(statistic, len(lags)) > _LEAST)


def _resolution(found: Refinement) -> np.ndarray:
    """(n, 4) changes of G(r) by a resolution that depends on r in another way than in the model.

    The displacements around a defect widen peaks the more, the farther the atoms of a pair are
    apart, which is also what a resolution function does whose form is not known to the last digit.
    """
    r, g = found.r, found.g_calculated
    curvature = CubicSpline(r, g).derivative(2)(r)
    return np.stack([r * g, r**3 * g, r * curvature, r**3 * curvature], axis=1)


def _left(found: Refinement) -> np.ndarray:
    return (found.g - found.g_calculated) / found.values["scale"]


def _neighbours(terms: np.ndarray) -> float:
    """Variance of the sum of terms (m,) that depend on the next ones."""
    lags = int(4 * (len(terms) / 100) ** (2 / 9))
    total = float(terms @ terms)
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * float(terms[lag:] @ terms[:-lag])
    return max(total, 0.0)
