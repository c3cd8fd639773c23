"""The radiation, the angles and the resolution of a powder pattern."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_REACH = 6.0
"""Standard deviations to which a Gaussian is followed: 2e-8 of its height."""


@dataclass(frozen=True)
class PowderParameters:
    """Wavelength, even grid of angles and width of the lines.

    Args:
        wavelength: A. The default is Cu K-alpha1 (G. Hölzer et al., Phys. Rev. A 56 (1997) 4554,
            DOI 10.1103/PhysRevA.56.4554).
        two_theta: first and last scattering angle, degrees.
        points: number of angles.
        fwhm: full width at half maximum of each line, a Gaussian in 2 theta, degrees.

    Raises:
        ValueError: a value is out of its range.
    """

    wavelength: float = 1.540593
    two_theta: tuple[float, float] = (20.0, 120.0)
    points: int = 2001
    fwhm: float = 0.15

    def __post_init__(self) -> None:
        low, high = self.two_theta
        if not 0.2 <= self.wavelength <= 20:
            raise ValueError(f"wavelength = {self.wavelength}: must be 0.2 to 20 A")
        # The Lorentz factor has no end towards 0 and 180 degrees.
        if not 1 <= low < high <= 170:
            raise ValueError(f"two_theta = {low}, {high}: must rise, from 1 to 170 degrees at most")
        if self.points < 2:
            raise ValueError(f"points = {self.points}: must be 2 or more")
        # A line's intensity is then the sum over its points to 1e-6.
        if not 2 * self.step <= self.fwhm <= 2:
            raise ValueError(
                f"fwhm = {self.fwhm}: must be at least two steps of the angles, {2 * self.step:g} "
                "degrees, and at most 2: give more points or a wider line"
            )

    @property
    def step(self) -> float:
        """Between two angles, degrees."""
        low, high = self.two_theta
        return (high - low) / (self.points - 1)

    @property
    def angles(self) -> np.ndarray:
        """(points,) scattering angles 2 theta, degrees."""
        return np.linspace(*self.two_theta, self.points)

    @property
    def sigma(self) -> float:
        """Standard deviation of a line, degrees."""
        return self.fwhm / math.sqrt(8 * math.log(2))

    @property
    def reach(self) -> float:
        """How far from its centre a line is followed, degrees."""
        return _REACH * self.sigma

    @property
    def s_range(self) -> tuple[float, float]:
        """sin(theta) / lambda of the first and last line that reach into the angles, 1/A."""
        low, high = self.two_theta
        ends = max(low - self.reach, 0.0), high + self.reach
        first, last = (math.sin(math.radians(end / 2)) / self.wavelength for end in ends)
        return first, last
