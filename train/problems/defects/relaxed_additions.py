"""What relaxing adds to the mean change by any impurity, from simulations of some of them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from defectgen.hosts.elements import atomic_volume
from defectgen.relaxation import volumes
from defectgen.samples import UnusableItem
from train.problems.defects.relaxed_means import RelaxedMeans, State

_NODES = 5
"""Amplitudes that stand for all of a range."""
_SIMULATED = {"substitution": 34, "interstitial": 12}
"""Most impurities that are simulated, from all volumes; if there are more, these stand for all."""
_TERMS = 7
_SMALL = 0.3
"""Rms of a change over that of G(r), below which a regression counts all alike."""


class RelaxedAdditions:
    """What relaxing adds, by kind, impurity and amplitude, to what a refined host leaves.

    Where atoms go depends on an impurity's volume v alone, and what that changes in G(r) on its
    scattering power z over the host's as well: by pairs with it in proportion to v (z - 1), by all
    others to v^2, and by products of these. A regression on these terms stands for all impurities.
    What can't be relaxed stays on its sites.

    Args:
        amplitudes: least and most that atoms relax by.
    """

    def __init__(self, means: RelaxedMeans, amplitudes: tuple[float, float]) -> None:
        self.means = means
        low, high = amplitudes
        self._amplitudes = np.unique(low + (high - low) * (np.arange(_NODES) + 0.5) / _NODES)
        self._regressions: dict[tuple[str, int | None], np.ndarray] = {}

    def of(self, state: State, x: np.ndarray) -> np.ndarray:
        """(A, F, R) of fractions (F,) of a state at each amplitude, 1/A^2."""
        return (x / self._norm(state, x))[:, None] * self._of_few(state)[:, None]

    def _of_few(self, state: State) -> np.ndarray:
        """(A, R) for each defect a host atom, but for what peaks are divided by."""
        if len(self.means.impurities) <= _SIMULATED.get(state.kind, len(self.means.impurities)):
            norm = self._norm(state, self.means.fraction(state))
            try:
                added = [self.means.by_relaxing(state, one) for one in self._amplitudes]
                return norm * np.stack(added)
            except UnusableItem:
                return np.zeros((len(self._amplitudes), len(self.means.pristine)))
        place = state.kind, state.orbit
        if place not in self._regressions:
            self._regressions[place] = self._regressed(*place)
        terms = np.array([self._terms(state, one) for one in self._amplitudes])
        return terms @ self._regressions[place]

    def _regressed(self, kind: str, orbit: int | None) -> np.ndarray:
        """(T, R) what each of the terms adds."""
        unit = np.sqrt(np.mean(self.means.pristine**2))
        terms, added = [], []
        chosen = np.linspace(0, len(self._by_volume) - 1, _SIMULATED[kind]).round().astype(int)
        for place in chosen:
            state = State(kind, self._by_volume[place], orbit)
            try:
                change = self.means.by_relaxing(state, 1.0)
            except UnusableItem:
                continue
            change = self._norm(state, self.means.fraction(state)) * change
            weight = 1 / (np.sqrt(np.mean(change**2)) / unit + _SMALL)
            terms.append(weight * np.array(self._terms(state, 1.0)))
            added.append(weight * change)
        if not terms:
            return np.zeros((_TERMS, len(self.means.pristine)))
        return np.linalg.lstsq(np.array(terms), np.array(added))[0]

    @cached_property
    def _by_volume(self) -> list[str]:
        return sorted(self.means.impurities, key=atomic_volume)

    def _terms(self, state: State, amplitude: float) -> list[float]:
        assert state.element is not None
        of_kind = volumes.substitution if state.kind == "substitution" else volumes.interstitial
        v = amplitude * of_kind(self.means.host.element, state.element)
        w = self.means.contrast(state) - 1
        return [v * w, v**2, v**2 * w, (v * w) ** 2, v**3, v**3 * w, v**4]

    def _norm(self, state: State, x: Any) -> Any:
        """What peaks are divided by at fractions x, over the host's."""
        z = self.means.contrast(state)
        return (1 - x + x * z) ** 2 if state.orbit is None else (1 + x * z) ** 2 / (1 + x)
