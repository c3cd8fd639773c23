"""What can be told apart in one known host: the likelihood of each kind of defect.

A defective trace is taken for a mean by formula plus a Gaussian deviation, for each kind of
defect, number of defects, element and kind of site. The deviation is that of the random places,
learnt from draws and scaled by formula, plus white noise. All these states count with their
prior, so that the likeliest kind is near to what Bayes' classifier answers for the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logsumexp

from defectgen.point_defects.settings import KINDS
from defectgen.point_defects.variants import HostSupercell
from hpc.observables.pdf import PDFSettings
from pdfcalc.crystals.displacements import Occupied
from pdfcalc.pdf.lattice import Change
from train.problems.defects.pair_profiles import PairProfiles

_COMPONENTS = 64
"""Principal components of the draws in which traces are compared."""
_MODES = 48
"""Of the deviations that random places bring."""
_PRECISION = 3e-5
"""Deviation of formula from engine, over the largest |G|."""


@dataclass(frozen=True, eq=False)
class States:
    """One kind of defect, of one element on one kind of site, in any of S numbers.

    Args:
        kind: index in `KINDS`.
        mean: (S, P) trace of each number of defects.
        modes: (M, P) independent deviations that random places bring, of standard deviation 1.
        size: (S,) what the modes are multiplied by.
        prior: of all the states together, among those of the kind.
    """

    kind: int
    mean: np.ndarray
    modes: np.ndarray
    size: np.ndarray
    prior: float

    def log_likelihood(self, trace: np.ndarray, noise: float, scale_free: bool) -> np.ndarray:
        """(B,) of traces (B, P) with white noise; the prior of a free scale is flat."""
        variance, axes = self._independent
        precision = 1 / (self.size[:, None] ** 2 * variance + noise**2)
        trace, mean = trace @ axes, self.mean @ axes
        weighted = precision * mean
        own, product = (weighted * mean).sum(axis=1), trace @ weighted.T
        exponent = -0.5 * trace**2 @ precision.T
        norm = 0.5 * np.log(precision).sum(axis=1) + np.log(self.prior / len(mean))
        if scale_free:
            exponent += 0.5 * product**2 / own
            norm -= 0.5 * np.log(own)
        else:
            exponent += product - 0.5 * own
        return logsumexp(exponent + norm, axis=1)

    @cached_property
    def _independent(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances (P,) of the modes along their principal axes, the columns (P, P)."""
        variance, axes = np.linalg.eigh(self.modes.T @ self.modes)
        return np.maximum(variance, 0), axes


class HostLikelihood:
    """Log-likelihoods of the kinds of defect in one host.

    Args:
        changes: draws of all kinds, from which to learn how random places deviate.
        g: (n, R) their G(r), 1/A^2.
        pristine: (R,) that of the host.
    """

    def __init__(
        self,
        supercell: HostSupercell,
        pdf: PDFSettings,
        changes: Sequence[Change],
        g: np.ndarray,
        pristine: np.ndarray,
    ) -> None:
        host, self._supercell = supercell.host, supercell
        self._uiso, power_of = host.uiso, pdf.parameters.scattering_power
        power = power_of(host.element)
        self._foreign = [
            (power_of(e) / power, supercell.uiso_of(e).median)
            for e in supercell.settings.impurities_of(host.element, KINDS)
        ]
        uiso = [host.uiso, *(u for _, u in self._foreign)]
        self._profiles = PairProfiles(supercell, pdf, (2 * min(uiso), 2 * max(uiso)))
        # The limit is that of kinds of one range, drawn with the Uiso of their own metals.
        fewest, most = supercell.count_range(())
        self._n = np.arange(fewest, most + 1)[:, None]
        self._x = self._n / supercell.n_atoms
        # A free scale changes a trace along itself, nearly along the pristine one.
        components = np.linalg.svd(g - pristine, full_matrices=False)[2][:_COMPONENTS]
        self._axes = np.linalg.qr(np.vstack([pristine, components]).T.astype(float))[0].T
        self._baseline = self._profiles.baseline @ self._axes.T
        self._precision = _PRECISION * np.abs(pristine).max()
        self._states = [*self._on_host_sites(changes), *self._on_interstitial_sites(changes)]

    def log_likelihood(self, g: np.ndarray, noise: float, scale_free: bool) -> np.ndarray:
        """(B, kinds) of G(r) (B, R) whose white noise has this standard deviation, 1/A^2."""
        trace, deviation = g @ self._axes.T, float(np.hypot(noise, self._precision))
        by_kind: list[list[np.ndarray]] = [[] for _ in KINDS]
        for states in self._states:
            by_kind[states.kind].append(states.log_likelihood(trace, deviation, scale_free))
        return np.stack([logsumexp(every, axis=0) for every in by_kind], axis=1)

    def _on_host_sites(self, changes: Sequence[Change]) -> Iterator[States]:
        profiles, n, x, u = self._profiles, self._n[:, 0], self._x[:, 0], self._uiso
        removed = [change.removed for change in changes if len(change.removed.site)]
        pairs = self._modes(np.array([self._deviating_pairs(gone) for gone in removed]))
        modes = self._projected(pairs, 2 * u)
        mean = profiles.mean_pdf(profiles.vacancies(n), profiles.profiles((u, u)))
        yield States(KINDS.index("vacancy"), mean @ self._axes.T, modes, x, 1.0)
        for z, uiso in self._foreign:
            mixed, new = self._projected(pairs, u + uiso), self._projected(pairs, 2 * uiso)
            shares = profiles.substitutions(n, z)
            mean = profiles.mean_pdf(shares, profiles.profiles((u, uiso)))
            yield States(
                KINDS.index("substitution"),
                mean @ self._axes.T,
                modes + z**2 * new - 2 * z * mixed,
                x * (1 - x) / (1 - x + x * z) ** 2,
                1 / len(self._foreign),
            )

    def _deviating_pairs(self, gone: Occupied) -> np.ndarray:
        """(C,) pairs of two defects for each host atom, less their mean, over x (1 - x)."""
        n, n_atoms = len(gone.site), self._profiles.n_atoms
        both = self._supercell.crystal.sites.count(gone, gone) / n_atoms
        x = n / n_atoms
        return (both - self._profiles.random_pairs_of(n)) / (x * (1 - x))

    def _on_interstitial_sites(self, changes: Sequence[Change]) -> Iterator[States]:
        profiles, x, u = self._profiles, self._x, self._uiso
        between = [change for change in changes if not len(change.removed.site)]
        added = [change.own if len(change.own.site) else change.added for change in between]
        first_site = [some.site[0] for some in added]
        ends = np.cumsum(
            [len(self._supercell.host.frac), *(len(orbit.frac) for orbit in self._supercell.orbits)]
        )
        orbits = np.searchsorted(ends, first_site, side="right") - 1
        kept = self._projected(profiles.host[None], 2 * u)
        guests = [(1.0, u, "self_interstitial", 1.0)]
        guests += [(z, of, "interstitial", 1 / len(self._foreign)) for z, of in self._foreign]
        for orbit in np.unique(orbits).tolist():
            here = [some for some, its in zip(added, orbits, strict=True) if its == orbit]
            pairs = self._pairs_among(here)
            for z, uiso, kind, prior in guests:
                (around,) = self._projected(profiles.around[orbit][None], u + uiso)
                own, linear, square, *modes = self._projected(pairs, 2 * uiso)
                others = own + x * linear + x**2 * square
                power = (1 + x * z) ** 2 / (1 + x)
                mean = (kept + 2 * x * z * around + x * z**2 * others) / power
                size = (x * z**2 / power)[:, 0]
                whole = mean + (1 + x) * self._baseline
                prior_here = prior * len(here) / len(added)
                yield States(KINDS.index(kind), whole, np.array(modes), size, prior_here)

    def _pairs_among(self, added: Sequence[Occupied]) -> np.ndarray:
        """(3 + M, C) what interstitials of one kind of site see of each other.

        Their own images, what grows with x and with x^2, as they keep away from each other, and
        the modes of the rest, whose size hardly depends on x.
        """
        own = self._profiles.own
        count = self._supercell.crystal.sites.count
        others = np.array([count(some, some) / len(some.site) for some in added]) - own
        x = np.array([len(some.site) for some in added]) / self._profiles.n_atoms
        powers = np.stack([x, x**2], axis=1)
        rise = np.linalg.lstsq(powers, others)[0]
        return np.vstack([own, rise, self._modes(others - powers @ rise)])

    def _modes(self, deviations: np.ndarray) -> np.ndarray:
        """(M, C) independent deviations of size 1 like those (n, C), the largest in G(r)."""
        directions = np.linalg.svd(self._projected(deviations, 2 * self._uiso))[0]
        return directions[:, :_MODES].T @ deviations / np.sqrt(len(deviations))

    def _projected(self, pairs: np.ndarray, u_sum: float) -> np.ndarray:
        """(K, P) peaks of pairs (K, C)."""
        return self._profiles.pdf(pairs, np.full(len(pairs), u_sum)) @ self._axes.T
