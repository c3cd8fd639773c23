"""The mean G(r) of a host's random defects, from how its sites see each other.

docs/identifiability.md derives the formulas; tests/benchmarks/test_pair_profiles.py holds them
against the engine.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from defectgen.variants import HostSupercell
from hpc.description import PDFSettings
from pdfcalc.class_response import ClassResponse
from pdfcalc.displacements import Occupied
from pdfcalc.response import baseline_response


class PairProfiles:
    """What a host's sites see of each other, by class of displacement (C), and its G(r).

    Args:
        u_sums: lowest and highest sum of the Uiso of two atoms that may occur, A^2.

    Attributes:
        own: (C,) 1 where a displacement leads to an atom's own periodic images, else 0.
        host: (C,) host sites around a host site.
        around: for each kind of interstitial site, (C,) host sites around one of them.
        among: for each kind of interstitial site, (C,) such sites around one of them.
        n_sites: for each kind of interstitial site, how many there are in the supercell.
    """

    def __init__(
        self, supercell: HostSupercell, pdf: PDFSettings, u_sums: tuple[float, float]
    ) -> None:
        self.n_atoms = supercell.n_atoms
        sites = supercell.crystal.sites
        n_host = len(supercell.host.frac)
        ends = np.cumsum([n_host, *(len(orbit.frac) for orbit in supercell.orbits)])
        orbits = [_every(*two, supercell.settings.supercell) for two in pairwise(ends.tolist())]
        atoms = _every(0, n_host, supercell.settings.supercell)
        whole = np.abs(sites.vectors - np.rint(sites.vectors)).max(axis=1) < 1e-9
        self.own = whole.astype(float)
        self.host = sites.count(atoms, atoms) / self.n_atoms
        self.n_sites = [len(orbit.site) for orbit in orbits]
        self.around = [sites.count(orbit, atoms) / len(orbit.site) for orbit in orbits]
        self.among = [sites.count(orbit, orbit) / len(orbit.site) for orbit in orbits]
        points, parameters = tuple(pdf.stored.tolist()), pdf.parameters
        used = sites.shortest >= supercell.shortest_pair
        self._response = ClassResponse(sites, used, u_sums, parameters, points)
        self.baseline = supercell.n_atoms / sites.volume * baseline_response(parameters, points)
        """(R,) G(r) of the host's density without peaks, 1/A^2."""

    def pdf(self, pairs: np.ndarray, u_sums: np.ndarray) -> np.ndarray:
        """(K, R) peaks of pairs (K, C) over N <b>^2, for sums of two Uiso (K,) in any order."""
        order = np.argsort(u_sums, kind="stable")
        rising = np.ascontiguousarray(pairs[order].T), np.ascontiguousarray(u_sums[order])
        g = np.empty((len(u_sums), len(self.baseline)))
        g[order] = self._response.pdf(*rising)
        return g

    def mean_pdf(
        self,
        weights: tuple[np.ndarray, np.ndarray, np.ndarray],
        density: float,
        uiso: tuple[float, float],
    ) -> np.ndarray:
        """(R,) G(r), 1/A^2.

        Args:
            weights: of host-host, host-defect and defect-defect pairs, as the functions below.
            density: atoms over the host's.
            uiso: of host atoms and defects, A^2.
        """
        own, foreign = uiso
        u_sums = np.array([2 * own, own + foreign, 2 * foreign])
        return self.pdf(np.array(weights), u_sums).sum(axis=0) + density * self.baseline

    def vacancies(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean weights of the pairs (C,) with n host atoms gone at random."""
        x, both = n / self.n_atoms, self.pairs_of_random_atoms(n)
        nothing = np.zeros_like(both)
        return (self.host * (1 - 2 * x) + both) / (1 - x), nothing, nothing

    def substitutions(self, n: int, z: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean weights with n host atoms replaced at random; z is b_impurity / b_host."""
        x, both = n / self.n_atoms, self.pairs_of_random_atoms(n)
        power = (1 - x + x * z) ** 2
        kept = self.host * (1 - 2 * x) + both
        return kept / power, 2 * z * (x * self.host - both) / power, z**2 * both / power

    def interstitials(
        self, n: int, z: float, orbit: int, others: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights with n interstitials that see `others` (C,) of each other in the mean."""
        x = n / self.n_atoms
        amplitude = (1 + x) / (1 + x * z) ** 2
        return (
            amplitude * self.host,
            amplitude * 2 * x * z * self.around[orbit],
            amplitude * x * z**2 * others,
        )

    def random_others(self, n: int, orbit: int) -> np.ndarray:
        """(C,) interstitials around one of n on random sites, however near."""
        return self._chosen(self.among[orbit], self.n_sites[orbit], n)

    def pairs_of_random_atoms(self, n: int) -> np.ndarray:
        """(C,) pairs of two of n random host atoms, for each host atom."""
        return n / self.n_atoms * self._chosen(self.host, self.n_atoms, n)

    def _chosen(self, seen: np.ndarray, n_sites: int, n: int) -> np.ndarray:
        """(C,) of the sites that a chosen site sees, those chosen as well; it sees itself."""
        return np.where(self.own > 0, seen, seen * (n - 1) / (n_sites - 1))


def _every(start: int, stop: int, repeats: tuple[int, ...]) -> Occupied:
    """Every copy in a supercell of some consecutive sites of the unit cell."""
    cells = np.indices(repeats).reshape(3, -1).T
    sites = np.arange(start, stop)
    return Occupied(np.repeat(sites, len(cells)), np.tile(cells, (len(sites), 1)))
