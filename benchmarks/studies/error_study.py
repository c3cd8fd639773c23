"""Where networks err: many fresh draws of the test hosts, and what makes each one hard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from defectgen.hosts.elements import atomic_number, debye_uiso, metals
from defectgen.hosts.host import Host
from defectgen.point_defects.settings import KINDS, DefectSettings
from hpc.observables.pdf import PDFSettings
from train.problems.defects.fresh_draws import FreshDraws, Variation
from train.problems.defects.scores import class_probabilities

_TOGETHER = 2048
"""Rows of one forward pass."""


class Noise(NamedTuple):
    """Standard deviation of white noise, as a fraction of a property of the pristine trace."""

    fraction: float
    of: str

    def deviation(self, pristine: np.ndarray) -> np.ndarray:
        """(n, 1) standard deviation for traces (n, R)."""
        square = np.square(pristine)
        size = square.mean(axis=1) if self.of == "root mean square" else square.max(axis=1)
        return self.fraction * np.sqrt(size)[:, None]

    def __str__(self) -> str:
        return f"{100 * self.fraction:g} % of the {self.of}" if self.fraction else "none"


NOISES = (
    Noise(0.0, "largest |G|"),
    *(Noise(fraction, "largest |G|") for fraction in (0.005, 0.01, 0.02, 0.05)),
    *(Noise(fraction, "root mean square") for fraction in (0.02, 0.05)),
)


@dataclass(frozen=True, eq=False)
class Rows:
    """Drawn defects and their traces, n rows of R points.

    Args:
        kind: (n,) index in `KINDS`.
        fraction: (n,) defects over host atoms.
        contrast: (n,) |Z_impurity - Z_host|, 0 without an impurity.
        uiso_ratio: (n,) Uiso of the defects' atoms over the host's, 1 without an impurity.
        pristine: (n, R) 1/A^2.
        defective: (n, R) 1/A^2.
    """

    kind: np.ndarray
    fraction: np.ndarray
    contrast: np.ndarray
    uiso_ratio: np.ndarray
    pristine: np.ndarray
    defective: np.ndarray

    def noisy(self, noise: Noise, seed: int) -> np.ndarray:
        """(n, R) the defective traces with white noise; the same but for its size at any level."""
        white = np.random.default_rng(seed).standard_normal(self.defective.shape)
        return self.defective + noise.deviation(self.pristine) * white


def draw_rows(
    hosts: Sequence[Host],
    defects: DefectSettings,
    pdf: PDFSettings,
    per_kind: int,
    seed: int,
) -> Rows:
    """Fresh draws of each kind in each host, in the order of hosts, kinds and draws."""
    host, kind, number = (
        grid.ravel() for grid in np.indices((len(hosts), len(KINDS), per_kind), dtype=np.int64)
    )
    drawn = FreshDraws(hosts, defects, pdf, Variation(), seed).draw(host, 1 + kind, number, 0)
    foreign = drawn.atomic_number.numpy()
    own = np.array([atomic_number(one.element) for one in hosts])[host]
    return Rows(
        kind=kind,
        fraction=drawn.concentration.numpy(),
        contrast=np.where(foreign > 0, np.abs(foreign - own), 0),
        uiso_ratio=_uiso_ratio(hosts, host, foreign),
        pristine=drawn.pristine.numpy(),
        defective=drawn.defective.numpy(),
    )


def _uiso_ratio(hosts: Sequence[Host], host: np.ndarray, foreign: np.ndarray) -> np.ndarray:
    symbols = {atomic_number(element): element for element in metals()}
    return np.array(
        [
            debye_uiso(symbols[z], hosts[h].kelvin) / hosts[h].uiso if z else 1.0
            for h, z in zip(host.tolist(), foreign.tolist(), strict=True)
        ]
    )


def predicted(run: Path, pristine: np.ndarray, defective: np.ndarray) -> np.ndarray:
    """(n,) the kinds that a run's network gives to pairs of traces (n, R)."""
    parts = range(0, len(pristine), _TOGETHER)
    return np.concatenate(
        [
            class_probabilities(run, pristine[i : i + _TOGETHER], defective[i : i + _TOGETHER])
            for i in parts
        ]
    ).argmax(axis=1)
