"""The r-grid and the instrument of a PDF."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np

from pdfcalc.crystals.scattering import HIGHEST_S, scattering_power

_MOST_POINTS = 1e6
_NOT_NEGATIVE = (
    *("rmin", "rmax", "rstep", "qmin", "qmax", "qdamp", "qbroad"),
    *("delta1", "delta2", "scale"),
)
TERMINATION_RIPPLES = 6
"""Ripples of period 2 pi / qmax by which the calculation reaches past rmax, as in diffpy.srreal."""


class Grid(NamedTuple):
    """Evenly spaced r from 0, A."""

    step: float
    size: int

    @property
    def r(self) -> np.ndarray:
        """(size,) the points, A."""
        return np.arange(self.size) * self.step


@dataclass(frozen=True)
class PDFParameters:
    """Grid and instrument of a PDF, with the names that PDFgui and diffpy.srreal use.

    Args:
        rmin, rmax, rstep: the grid holds the multiples of `rstep` in [rmin, rmax), in A.
        qmin: F(Q) is zero below it, in 1/A.
        qmax: F(Q) is zero from it on, in 1/A; None, or 0, for no upper limit.
        qdamp: damping of G(r) by the instrument's resolution, exp(-(r qdamp)^2 / 2), in 1/A.
        qbroad: broadening of the peaks, sigma^2 (1 + (qbroad r)^2), in 1/A.
        scattering: "xray" (scattering power Z) or "neutron" (coherent scattering length).
        delta1, delta2: sharpening of near peaks by correlated motion, in A and A^2:
            sigma^2 = (U_i + U_j) (1 - delta1 / d - delta2 / d^2 + (qbroad d)^2)
            (Jeong et al., Phys. Rev. B 67 (2003) 104301, DOI 10.1103/PhysRevB.67.104301).
        scale: factor of G(r).
        spdiameter: diameter of a spherical particle, in A; None for a crystal without end.
        stepcut: G(r) is zero beyond it, in A; None for nowhere.
        scattering_lengths: scattering power by element label, in place of the table's. Kept as
            sorted pairs.
        form_factors: "constant" (X-ray form factors at Q = 0, as diffpy.srreal and PDFgui take
            them) or "q_dependent": pairs are weighted in Q by f_i(Q) f_j(Q) / <f(Q)>^2, as they are
            in a measurement. One element has the same G(r) with both, to rounding.

    Raises:
        ValueError: a value is not finite or out of its range.
    """

    rmin: float = 0.0
    rmax: float = 30.0
    rstep: float = 0.01
    qmin: float = 0.0
    qmax: float | None = None
    qdamp: float = 0.0
    qbroad: float = 0.0
    scattering: str = "xray"
    delta1: float = 0.0
    delta2: float = 0.0
    scale: float = 1.0
    spdiameter: float | None = None
    stepcut: float | None = None
    scattering_lengths: Mapping[str, float] | Iterable[tuple[str, float]] | None = None
    form_factors: str = "constant"

    def __post_init__(self) -> None:
        if self.qmax == 0:  # as .gr files and diffpy say it
            object.__setattr__(self, "qmax", None)
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            if value is None and name == "qmax":
                continue
            if value is None or not 0 <= value < math.inf:
                raise ValueError(f"{name} = {value}: must be finite and not negative")
        for name in ("spdiameter", "stepcut"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} = {value}: must be positive (A), or None for no such cut")
        self._keep_scattering_lengths()
        if self.scattering not in ("xray", "neutron"):
            raise ValueError(f"scattering = {self.scattering!r}: must be 'xray' or 'neutron'")
        if not 0 < self.rstep <= self.rmax:
            raise ValueError(f"rstep = {self.rstep}: must be in (0, rmax = {self.rmax}]")
        if self.rmax / self.rstep > _MOST_POINTS:
            raise ValueError(
                f"rstep = {self.rstep} gives {self.rmax / self.rstep:.0e} points up to "
                f"rmax = {self.rmax}: at most {_MOST_POINTS:.0e} are possible"
            )
        if self.rmin > self.rmax:
            raise ValueError(f"rmin = {self.rmin}: must not exceed rmax = {self.rmax}")
        if self.qmax is not None:
            if self.qmin >= self.qmax:
                raise ValueError(f"qmin = {self.qmin}: must be less than qmax = {self.qmax}")
            if self.qmax * self.rstep > math.pi:
                raise ValueError(
                    f"rstep = {self.rstep} is too coarse for qmax = {self.qmax}: "
                    f"use at most pi / qmax = {math.pi / self.qmax:.4f}"
                )
        self._require_form_factors()

    def _require_form_factors(self) -> None:
        if self.form_factors == "constant":
            return
        named = f"form_factors = {self.form_factors!r}"
        if self.form_factors != "q_dependent":
            raise ValueError(f"{named}: must be 'constant' or 'q_dependent'")
        if self.scattering != "xray" or self.scattering_lengths:
            raise ValueError(
                f"{named} is for X-rays by the table: neutron and own scattering lengths don't "
                "change with Q, so leave it or them out"
            )
        highest = 4 * math.pi * HIGHEST_S
        if self.qmax is None or self.qmax > highest:
            raise ValueError(
                f"{named} with qmax = {self.qmax}: the table ends at Q = {highest:.1f} 1/A, so "
                "give a qmax up to it"
            )

    def _keep_scattering_lengths(self) -> None:
        lengths = dict(self.scattering_lengths or ())
        for label, length in lengths.items():
            if not math.isfinite(length):
                raise ValueError(f"scattering_lengths[{label!r}] = {length}: must be finite")
        # As pairs, so that equal parameters are one key of a cache.
        object.__setattr__(self, "scattering_lengths", tuple(sorted(lengths.items())))

    def scattering_power(self, label: str) -> float:
        """Electrons or fm of an atom; `pdfcalc.crystals.scattering` has labels and errors."""
        own = cast(tuple[tuple[str, float], ...], self.scattering_lengths)
        return scattering_power(label, self.scattering, own)

    @property
    def r(self) -> np.ndarray:
        """(n_r,) the grid in A."""
        return self._indices() * self.rstep

    @property
    def extended_grid(self) -> Grid:
        """The grid on which peaks are summed: from 0, past rmax by the termination ripples."""
        reach = self.rmax + (TERMINATION_RIPPLES * 2 * math.pi / self.qmax if self.qmax else 0.0)
        return Grid(self.rstep, _ceil_steps(reach, self.rstep))

    def _indices(self) -> np.ndarray:
        return np.arange(_ceil_steps(self.rmin, self.rstep), _ceil_steps(self.rmax, self.rstep))


def _ceil_steps(length: float, step: float) -> int:
    """The smallest n with n * step >= length, blind to the last digits of the quotient."""
    return math.ceil(round(length / step, 6))
