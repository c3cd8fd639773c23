"""From pairs counted by class of displacement to G(r), as one linear map for each sum of Uiso."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pdfcalc.crystals.displacements import Sites
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.pdf.peaks import Mesh, Shells, longest_distance, peak_width
from pdfcalc.pdf.response import Response, instrument_response, sampling_strides

_TRIED = 64
"""Sums of Uiso at which the sampling of peaks is looked up."""


class ClassResponse:
    """What pairs of each class of a crystal's displacements add to G(r) at R points.

    Peaks alike in width are summed together, the narrow ones on more samples. Which those are
    depends on nothing but the arguments here, so that the result for one sum is the same to the
    last bit whatever else is computed with it.

    Args:
        used: (C,) classes that pairs may be of.
        u_sums: lowest and highest sum of the Uiso of two atoms that may occur, A^2.
        points: indices of the wanted points in `parameters.r`.
    """

    def __init__(
        self,
        sites: Sites,
        used: np.ndarray,
        u_sums: tuple[float, float],
        parameters: PDFParameters,
        points: Sequence[int],
    ) -> None:
        self.used, self.u_sums = used, u_sums
        nearest = sites.shortest[used].min()
        tried = np.geomspace(*u_sums, _TRIED)
        strides = sampling_strides(parameters, peak_width(nearest, tried, parameters))
        different, first = np.unique(strides, return_index=True)
        self._starts = tried[first]
        responses = [
            instrument_response(parameters, tuple(points), stride) for stride in different.tolist()
        ]
        longest = longest_distance(responses[-1].grid, u_sums[1], parameters)
        self._shells = Shells(sites.vectors[used], sites.lattice, longest)
        # Without any distance the mesh is short and empty.
        farthest = self._shells.distances.max(initial=1.0)
        shortest = self._shells.distances.min(initial=farthest)
        self._samplings = [
            _Sampling.of(response, start, shortest, farthest, parameters)
            for response, start in zip(responses, self._starts.tolist(), strict=True)
        ]

    def pdf(self, weights: np.ndarray, u_sums: np.ndarray) -> np.ndarray:
        """(K, R) what pairs add to G(r), for K sums of Uiso, 1/A^2.

        Args:
            weights: (C, K) of pairs over N <b>^2, by class.
            u_sums: (K,) rising, A^2.
        """
        by_distance = self._shells.sum(weights[self.used])
        ends = [0, *np.searchsorted(u_sums, self._starts[1:]).tolist(), len(u_sums)]
        parts = [
            sampling.pdf(self._shells.distances, by_distance[:, start:stop], u_sums[start:stop])
            for sampling, (start, stop) in zip(self._samplings, pairwise(ends), strict=True)
            if stop > start
        ]
        return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class _Sampling:
    """A mesh of distances, and the response to samples of the peaks on it."""

    mesh: Mesh
    response: Response

    @classmethod
    def of(
        cls,
        response: Response,
        u_sum: float,
        shortest: float,
        farthest: float,
        parameters: PDFParameters,
    ) -> _Sampling:
        """For distances from `shortest` to `farthest` and sums of Uiso from u_sum on."""
        return cls(Mesh(shortest, farthest, u_sum, response.grid, parameters), response)

    def pdf(self, distances: np.ndarray, weights: np.ndarray, u_sums: np.ndarray) -> np.ndarray:
        return self.response.pdf(self.mesh.peaks(distances, weights, u_sums))
