"""What each defect leaves of a host's G(r) once the host was refined, atoms relaxed and not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.linalg import orth

from defectgen.hosts.elements import atomic_volume
from defectgen.samples import UnusableItem
from train.problems.defects.inputs import Absorbed, PairInput, without
from train.problems.defects.relaxed_means import RelaxedMeans, State

AMPLITUDES = (0.7, 1.0, 1.3)
"""Factors of the relaxation volumes, through which what a defect changes is a parabola."""
_EVERY = 4
"""Of the metals, in the order of their volumes, one in so many is an impurity."""
REFINED: dict[str, tuple[Absorbed, ...]] = {
    "scale known": (),
    "scale free": ("scale",),
    "all refined": ("scale", "qdamp", "qbroad", "delta2"),
}
"""What is refined besides cell and Uiso."""


def some_impurities(metals: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(metals, key=atomic_volume)[::_EVERY])


@dataclass(frozen=True, eq=False)
class Signals:
    """What defects leave of the G(r) of a host when its cell and Uiso are refined.

    All are in units in which white noise as large as the root mean square of the host's G(r), at
    independent points, has the standard deviation 1 in every direction.

    Args:
        independent: points; the length of something as large as G(r) is the root of them.
        of_states: (1 + len(AMPLITUDES), R) for each one a host atom, on sites first.
        also: (K, R) what else a refinement may take up, by name.
        host: (R,) G(r), less its components along cell and Uiso.
    """

    independent: float
    of_states: dict[State, np.ndarray]
    also: dict[str, np.ndarray]
    host: np.ndarray

    @classmethod
    def of(cls, means: RelaxedMeans) -> Signals:
        pdf = means.pdf
        independent = (pdf.rmax - pdf.rmin) * pdf.qmax / math.pi
        unit = np.sqrt(np.sum(means.pristine**2) / independent)
        taken_up = orth(means.tangents.T)
        names, r = REFINED["all refined"], pdf.parameters.r[pdf.stored]
        inputs = PairInput("shared", names, r.tolist())
        others = inputs.tangents(torch.from_numpy(means.pristine)[None])[0].numpy()
        found = {}
        for state in means.states:
            try:
                rigid = means.rigid(state)
                relaxed = [rigid + means.by_relaxing(state, one) for one in AMPLITUDES]
            except UnusableItem:
                continue
            found[state] = without(np.stack([rigid, *relaxed]), taken_up) / unit
        also = dict(zip(names, without(others.T, taken_up), strict=True))
        return cls(independent, found, also, without(means.pristine, taken_up) / unit)

    def left(self, refined: str) -> dict[State, np.ndarray]:
        """As `of_states`, of what is left when more is refined."""
        if not REFINED[refined]:
            return self.of_states
        taken_up = orth(np.stack([self.also[name] for name in REFINED[refined]]).T)
        return {state: without(of, taken_up) for state, of in self.of_states.items()}

    @cached_property
    def along_scale(self) -> np.ndarray:
        """(R,) unit vector of what a change of the scale leaves."""
        return self.host / np.linalg.norm(self.host)


def at(amplitude: np.ndarray | float, of_amplitudes: np.ndarray) -> np.ndarray:
    """(n, R) by the parabola through (3, R) at AMPLITUDES."""
    x = np.atleast_1d(amplitude)[:, None] - np.array(AMPLITUDES)
    low, middle, high = AMPLITUDES
    weights = np.stack(
        [
            x[:, 1] * x[:, 2] / ((low - middle) * (low - high)),
            x[:, 0] * x[:, 2] / ((middle - low) * (middle - high)),
            x[:, 0] * x[:, 1] / ((high - low) * (high - middle)),
        ],
        axis=1,
    )
    return weights @ of_amplitudes
