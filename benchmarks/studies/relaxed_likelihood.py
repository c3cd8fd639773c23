"""Which kind of relaxed defect a host has: the likelihood of each, and how often it is right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import log_ndtr, logsumexp

from benchmarks.studies.relaxed_signals import Signals, at
from defectgen.point_defects.settings import KINDS

_NODES = 13
"""Amplitudes that stand for all."""
_FLATTEST = 1e-9
"""Least precision, of what a fraction of 1 leaves, that is told from none."""


class Judge:
    """The likelihood of five classes, none and the kinds, for one host and one level of noise.

    Element, site, fraction and how far atoms relax are unknown, each as likely as it is drawn.

    Args:
        amplitudes: least and most that atoms relax by; None where they stay on their sites.
        ranges: of the fraction of each kind.
        noise: standard deviation of white noise, over the rms of G(r).
        scale: that of the scale, relative; infinite where it is free.
    """

    def __init__(
        self,
        signals: Signals,
        amplitudes: tuple[float, float] | None,
        ranges: Mapping[str, tuple[float, float]],
        noise: float,
        scale: float,
    ) -> None:
        self._ranges, self._amplitudes = ranges, amplitudes
        along, size = signals.along_scale, float(np.linalg.norm(signals.host))
        # Along a scale that is uncertain the noise is larger: that direction counts by less.
        kept = 0.0 if math.isinf(scale) else noise / math.hypot(noise, scale * size)
        self._states = {
            state: (of - (1 - kept) * np.outer(of @ along, along)) / noise
            for state, of in signals.of_states.items()
        }

    def recalls(self, per_class: int, rng: np.random.Generator) -> np.ndarray:
        """(5,) how often draws without defects, and of each kind, are judged right."""
        right = []
        for kind in (None, *KINDS):
            found = self._log_likelihood(self._draw(kind, per_class, rng)).argmax(axis=1)
            right.append(np.mean(found == (0 if kind is None else 1 + KINDS.index(kind))))
        return np.array(right)

    def _of(self, kind: str) -> list[np.ndarray]:
        return [of for state, of in self._states.items() if state.kind == kind]

    def _draw(self, kind: str | None, count: int, rng: np.random.Generator) -> np.ndarray:
        """(n, R) noise of size 1 with defects of a kind."""
        points = next(iter(self._states.values())).shape[1]
        traces = rng.normal(size=(count, points))
        if kind is None:
            return traces
        states = self._of(kind)
        for trace, one in zip(traces, rng.integers(len(states), size=count), strict=True):
            trace += rng.uniform(*self._ranges[kind]) * self._relaxed(states[one], rng)
        return traces

    def _relaxed(self, of: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self._amplitudes is None:
            return of[0]
        return at(rng.uniform(*self._amplitudes), of[1:])[0]

    def _log_likelihood(self, traces: np.ndarray) -> np.ndarray:
        """(n, 5) of traces (n, R), over that of none."""
        found = [np.zeros(len(traces))]
        for kind in KINDS:
            expected = np.concatenate([self._nodes(of) for of in self._of(kind)])
            each = _over_fractions(traces @ expected.T, expected, self._ranges[kind])
            found.append(logsumexp(each, axis=1) - math.log(len(expected)))
        return np.stack(found, axis=1)

    def _nodes(self, of: np.ndarray) -> np.ndarray:
        if self._amplitudes is None:
            return of[:1]
        low, high = self._amplitudes
        middles = (np.arange(_NODES) + 0.5) / _NODES
        return at(low + (high - low) * middles, of[1:])


def _over_fractions(
    products: np.ndarray, expected: np.ndarray, ends: tuple[float, float]
) -> np.ndarray:
    """(n, S) ln of the mean of exp(p x - q x^2 / 2) over x between the ends.

    Args:
        products: p, (n, S) of traces and what is expected (S, R), whose squares are q.
    """
    low, high = ends
    q = np.maximum(np.square(expected).sum(axis=1), _FLATTEST)
    root, peak = np.sqrt(q), products / q
    first, second = (low - peak) * root, (high - peak) * root
    # Both on the side where the integral of a Gaussian is no difference of ones.
    first, second = np.where(first > 0, -second, first), np.where(first > 0, -first, second)
    upper, lower = log_ndtr(second), log_ndtr(first)
    between = upper + np.log1p(-np.exp(np.minimum(lower - upper, -1e-15)))
    norm = 0.5 * np.log(2 * math.pi / q) - math.log(high - low)
    return 0.5 * products * peak + norm + between


def accuracy(recalls: Sequence[np.ndarray]) -> dict[str, float]:
    """Percent, of all hosts and classes, and of each class."""
    of_class = 100 * np.mean(recalls, axis=0)
    names = ("no defect", *KINDS)
    return {"accuracy": float(of_class.mean())} | dict(zip(names, of_class.tolist(), strict=True))


def fraction_seen(of: np.ndarray, noise: float, deviations: float = 3.0) -> float:
    """The least fraction that is so many deviations of white noise, over the rms, from none."""
    size = float(np.linalg.norm(of))
    return deviations * noise / size if size > 1e-6 else math.inf
