"""The mean G(r) of a host's random defects, from how its sites see each other.

docs/identifiability.md derives the formulas; tests/train/problems/defects/test_pair_profiles.py
holds them against the engine.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from defectgen.point_defects.variants import HostSupercell
from hpc.observables.pdf import PDFSettings
from pdfcalc.pdf.class_response import ClassResponse
from pdfcalc.pdf.response import baseline_response


class Shares(NamedTuple):
    """How much of a host's profiles random defects leave and add, for arrays (...) of states.

    Args:
        pairs: (..., 3, 2) of the two profiles that `PairProfiles.profiles` gives for each sum of
            displacements: of two host atoms, of a host atom and a defect, and of two defects.
        density: (...) atoms over the host's.
    """

    pairs: np.ndarray
    density: np.ndarray


class PairProfiles:
    """What a host's sites see of each other, by class of displacement (C), and its G(r).

    Args:
        u_sums: lowest and highest sum of the Uiso of two atoms that may occur, A^2.
        repeated: whether the supercell's defects repeat with it, as in a store, or stand for those
            of a crystal without end.

    Attributes:
        own: (C,) 1 where a displacement leads to an atom's own periodic images, else 0.
        host: (C,) host sites around a host site.
        around: for each kind of interstitial site, (C,) host sites around one of them.
        others: for each kind of interstitial site, (C,) where another one may be, adding up to 1:
            anywhere, but not too near.
    """

    def __init__(
        self,
        supercell: HostSupercell,
        pdf: PDFSettings,
        u_sums: tuple[float, float],
        repeated: bool = True,
    ) -> None:
        self._lone = 1 if repeated else 0  # of n defects, that are no others
        self.n_atoms = supercell.n_atoms
        sites = supercell.crystal.sites
        atoms, orbits = supercell.host_places, supercell.interstitial_places
        whole = np.abs(sites.vectors - np.rint(sites.vectors)).max(axis=1) < 1e-9
        whole &= repeated
        self.own = whole.astype(float)
        self.host = sites.count(atoms, atoms) / self.n_atoms
        self.around = [sites.count(orbit, atoms) / len(orbit.site) for orbit in orbits]
        among = [sites.count(orbit, orbit) * ~(supercell.too_near | whole) for orbit in orbits]
        self.others = [seen / seen.sum() for seen in among]
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

    def profiles(self, uiso: tuple[float, float], orbit: int | None = None) -> np.ndarray:
        """(3, 2, R) peaks by the sums of displacements, of which `Shares` are added up.

        Args:
            uiso: of host atoms and defects, A^2.
            orbit: the kind of interstitial site; None for defects on the host's own sites.
        """
        pairs = np.array([[self.host, self.own]] * 3)
        if orbit is not None:
            pairs[1, 0], pairs[2, 0] = self.around[orbit], self.others[orbit]
        own, foreign = uiso
        u_sums = np.repeat([2 * own, own + foreign, 2 * foreign], 2)
        return self.pdf(pairs.reshape(6, -1), u_sums).reshape(3, 2, -1)

    def mean_pdf(self, shares: Shares, profiles: np.ndarray) -> np.ndarray:
        """(..., R) mean G(r) of the states, 1/A^2."""
        peaks = np.tensordot(shares.pairs, profiles, axes=2)
        return peaks + np.multiply.outer(shares.density, self.baseline)

    def vacancies(self, n: np.ndarray) -> Shares:
        """With n host atoms gone at random."""
        x, both = self._random_pairs(n)
        kept = (1 - 2 * x + both) / (1 - x), (x - both) / (1 - x)
        return Shares(_stacked([kept, (0, 0), (0, 0)]), 1 - x)

    def substitutions(self, n: np.ndarray, z: float) -> Shares:
        """With n host atoms replaced at random; z is b_impurity / b_host."""
        x, both = self._random_pairs(n)
        once, power = x - both, (1 - x + x * z) ** 2
        kept, mixed, new = (1 - 2 * x + both, once), (once, -once), (both, once)
        rows = [
            [factor * share / power for share in shares]
            for factor, shares in ((1, kept), (2 * z, mixed), (z**2, new))
        ]
        return Shares(_stacked(rows), np.ones_like(x))

    def interstitials(self, n: np.ndarray, z: float) -> Shares:
        """With n interstitials; self-interstitials have z = 1."""
        x = n / self.n_atoms
        amplitude = (1 + x) / (1 + x * z) ** 2
        new = amplitude * x * z**2
        others = np.maximum(n - self._lone, 0)
        rows = [(amplitude, 0), (2 * amplitude * x * z, 0), (new * others, new)]
        return Shares(_stacked(rows), 1 + x)

    def random_pairs_of(self, n: int) -> np.ndarray:
        """(C,) pairs of two of n random host atoms, for each host atom."""
        x, both = self._random_pairs(np.array(n))
        return both * self.host + (x - both) * self.own

    def _random_pairs(self, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The part of host atoms, and of pairs of two different ones, that n random ones are."""
        x = n / self.n_atoms
        return x, x * np.maximum(n - self._lone, 0) / (self.n_atoms - self._lone)


def _stacked(rows: list) -> np.ndarray:
    """(..., 3, 2) of three rows of two arrays (...)."""
    flat = np.broadcast_arrays(*(share for row in rows for share in row))
    return np.stack(flat, axis=-1).reshape(*flat[0].shape, 3, 2)
