"""How far foreign atoms vibrate in a host."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from defectgen.hosts.elements import atomic_volume, debye_ratio
from defectgen.hosts.host import Host
from defectgen.hosts.light_atoms import LIGHT_ATOMS, local_uiso

FARTHEST = 2.0
"""Standard deviations at which the scatter is cut, so that there is a least and a most Uiso."""
_SCATTER, _SCATTER_BY_SIZE = 0.2, 0.3
"""Of ln Uiso, for a foreign atom of the host's size, and how much more for each unit of ln of the
ratio of atomic volumes: rules of thumb, by which the force constants of most pairs of metals differ
by less than a factor of two, as those that Moessbauer factors give do (J. M. Grow et al., Phys.
Rev. B 17 (1978) 15, DOI 10.1103/PhysRevB.17.15)."""


class Displacements(NamedTuple):
    """The Uiso that atoms may have: log-normal.

    Args:
        median: A^2.
        scatter: standard deviation of ln Uiso.
    """

    median: float
    scatter: float = 0.0

    def at(self, rng: np.random.Generator) -> float:
        """One of them, A^2."""
        if not self.scatter:
            return self.median
        return self.of(float(np.clip(rng.normal(), -FARTHEST, FARTHEST)))

    def of(self, deviations: float) -> float:
        """So many standard deviations from the median, A^2."""
        return self.median * math.exp(self.scatter * deviations)

    @property
    def ends(self) -> tuple[float, float]:
        """Least and most, A^2."""
        return self.of(-FARTHEST), self.of(FARTHEST)


def displacements_in(host: Host, impurity: str) -> Displacements:
    """Of foreign atoms that are held as the host's own are, but for their mass, with a scatter.

    Light atoms vibrate by themselves as well.
    """
    if impurity in LIGHT_ATOMS:
        local = local_uiso(impurity, host.space_group, host.kelvin)
        return Displacements(host.uiso + local, _SCATTER)
    ratio = abs(math.log(atomic_volume(impurity) / atomic_volume(host.element)))
    median = host.uiso * debye_ratio(host.element, impurity, host.kelvin)
    return Displacements(median, _SCATTER + _SCATTER_BY_SIZE * ratio)
