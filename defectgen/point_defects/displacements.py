"""How far foreign atoms vibrate in a host."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from defectgen.hosts.elements import atomic_volume, debye_ratio, oscillator_uiso
from defectgen.hosts.host import Host

FARTHEST = 2.0
"""Standard deviations at which the scatter is cut, so that there is a least and a most Uiso."""
_SCATTER, _SCATTER_BY_SIZE = 0.2, 0.3
"""Of ln Uiso, for a foreign atom of the host's size, and how much more for each unit of ln of the
ratio of atomic volumes: rules of thumb, by which the force constants of most pairs of metals differ
by less than a factor of two, as those that Moessbauer factors give do (J. M. Grow et al., Phys.
Rev. B 17 (1978) 15, DOI 10.1103/PhysRevB.17.15)."""
_MODES = {
    ("H", "Pd", 225): (69.0, 69.0, 69.0),
    ("H", "V", 229): (106.0, 170.0, 170.0),
    ("H", "Nb", 229): (107.0, 163.0, 163.0),
    ("H", "Ta", 229): (114.0, 163.0, 163.0),
}
"""meV of the three local modes of light atoms on their usual sites, by element, host and space
group: measured by inelastic neutron scattering (Y. Fukai, The Metal-Hydrogen System, Springer 2005,
DOI 10.1007/3-540-28883-X)."""
_USUAL_MODES = {
    ("H", "tetrahedral"): 145.0,
    ("H", ""): 80.0,
    ("C", ""): 70.0,
    ("N", ""): 60.0,
    ("O", ""): 50.0,
}
"""meV of other hosts, by coordination: rules. Those of hydrogen are the mean of the tetrahedral
ones above, and somewhat more than in palladium, whose octahedra are wide. Those of the others are
about what optic branches of carbides and nitrides have, in which they sit in octahedra of metal
atoms as well (TiC: L. Pintschovius et al., J. Phys. C 11 (1978) 1557; UN: A. A. Aczel et al., Nat.
Commun. 3 (2012) 1124, DOI 10.1038/ncomms2117), with a heavier atom on the same spring for
oxygen."""
_SCATTER_OF_MODES, _SCATTER_OF_USUAL = 0.1, 0.3
"""Of ln Uiso, where the modes are measured and where they are by rule, off by up to a third."""


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
    """Of foreign atoms that are held as the host's own are, but for their mass, with a scatter."""
    ratio = abs(math.log(atomic_volume(impurity) / atomic_volume(host.element)))
    median = host.uiso * debye_ratio(host.element, impurity, host.kelvin)
    return Displacements(median, _SCATTER + _SCATTER_BY_SIZE * ratio)


def displacements_between(host: Host, impurity: str, coordination: str) -> Displacements:
    """Of light atoms between the host's, by their local modes.

    They follow the waves of the atoms around them as well, which has the host's Uiso added (H. R.
    Schober and V. Lottner, Z. Phys. Chem. 114 (1979) 203, DOI 10.1524/zpch.1979.114.114.203, on
    hydrogen in V, Nb, Ta and Pd).

    Args:
        impurity: of `hosts.elements.LIGHT`.
        coordination: of its site, as of `InterstitialSite`.
    """
    modes = _MODES.get((impurity, host.element, host.space_group))
    scatter = _SCATTER_OF_MODES if modes else _SCATTER_OF_USUAL
    if modes is None:
        usual = _USUAL_MODES.get((impurity, coordination), _USUAL_MODES[impurity, ""])
        modes = (usual,) * 3
    local = [oscillator_uiso(impurity, energy, host.kelvin) for energy in modes]
    return Displacements(host.uiso + sum(local) / 3, scatter)
