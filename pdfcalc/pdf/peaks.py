"""Weighted pair distances to the sum of their peaks.

Both engines sum peaks in the same two steps:

1. Each distance is laid on a regular mesh, its weight shared between eight points (Lagrange's
   interpolation). The mesh is finer than what the peaks or the instrument can tell apart, so that
   any number of distances costs no more than the mesh has points.
2. Each mesh point is blurred by the Gaussian of its own width and summed on a grid, of which the
   step is a multiple of the mesh's.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pdfcalc.kernels.counts import group_keys
from pdfcalc.kernels.mesh import (
    MARGIN,
    STENCIL,
    image_distances,
    spread,
    sum_gaussians,
    sum_groups,
)
from pdfcalc.pdf.parameters import Grid, PDFParameters

_PRECISION = 3.33e-6
"""A peak ends where it has fallen to this fraction of its height, as in diffpy.srreal."""
_REACH = math.sqrt(-2 * math.log(_PRECISION))
_RESCALE = 1 / math.erf(_REACH / math.sqrt(2))
_DIAGONALS = np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [1, -1, -1]])
_SAME = 1e8
"""Squared distances, in A^2, are the same if they agree when multiplied by this and rounded."""
_FINENESS = 0.32
"""Mesh steps in standard deviations of the narrowest peak; its errors are 1e-5 of the peak, and
since they have the highest Q, 1e-6 of what an instrument sees."""
_FINENESS_IN_Q = 0.42
"""Mesh step times qmax, beyond which the peaks don't matter, that does as well."""


def peak_width(
    distance: npt.ArrayLike, u_sum: npt.ArrayLike, parameters: PDFParameters
) -> np.ndarray:
    """Standard deviation in A of peaks at distances, for sums of the two atoms' Uiso.

    Narrowed by correlated motion (Jeong et al. 2003, DOI 10.1103/PhysRevB.67.104301), widened by
    the instrument: sigma^2 = u_sum (1 - delta1 / d - delta2 / d^2 + (qbroad d)^2).

    Raises:
        ValueError: correlated motion leaves a peak no width.
    """
    distance = np.asarray(distance)
    narrowing = parameters.delta1 / distance + parameters.delta2 / distance**2
    stretch = 1 - narrowing + (parameters.qbroad * distance) ** 2
    if stretch.min() <= 0:
        raise ValueError(
            f"delta1 = {parameters.delta1:g}, delta2 = {parameters.delta2:g} leave no width to the "
            f"peak of atoms {distance.flat[stretch.argmin()]:.3f} A apart: lower them"
        )
    return np.sqrt(np.asarray(u_sum) * stretch)


def peak_height(width: npt.ArrayLike) -> np.ndarray:
    """Height in 1/A of peaks that are cut where they end and rescaled, as diffpy.srreal does it."""
    return _RESCALE / (math.sqrt(2 * math.pi) * np.asarray(width))


def longest_distance(grid: Grid, u_sum: float, parameters: PDFParameters) -> float:
    """The distance in A from which on a peak leaves nothing on the grid."""
    edge = grid.step * (grid.size - 1)
    # Two steps of the fixed point d = edge + reach * width(d); the width grows slowly with d.
    reach = 0.0
    for _ in range(2):
        reach = _REACH * math.sqrt(u_sum * (1 + (parameters.qbroad * (edge + reach)) ** 2))
    return edge + reach


def mesh_fineness(shortest: float, u_sum: float, parameters: PDFParameters) -> float:
    """Step in A of a mesh that suffices for peaks from the shortest distance on."""
    fineness = _FINENESS * float(peak_width(shortest, u_sum, parameters))
    if parameters.qmax is not None:
        fineness = max(fineness, _FINENESS_IN_Q / parameters.qmax)
    return fineness


class Mesh:
    """A regular mesh that distances are laid on, and the sums of their peaks on a grid.

    Args:
        shortest, longest: of the distances, A.
        u_sum: least sum of the Uiso of two atoms, A^2.
    """

    def __init__(
        self, shortest: float, longest: float, u_sum: float, grid: Grid, parameters: PDFParameters
    ) -> None:
        fineness = mesh_fineness(shortest, u_sum, parameters)
        self._step = grid.step / math.ceil(grid.step / fineness)
        self._size = math.ceil(longest / self._step) + 2 * MARGIN
        self._blur = Blur(self._size, self._step, shortest, grid, parameters)

    def peaks(self, distances: np.ndarray, weights: np.ndarray, u_sums: np.ndarray) -> np.ndarray:
        """(V, grid.size) sums of weight / distance * Gaussian(r - distance), one a column.

        Args:
            distances: (K,) A.
            weights: (K, V) their weights in each of V sums.
            u_sums: (V,) rising sum of the two atoms' Uiso in each sum, A^2.
        """
        mesh = np.zeros((self._size, len(u_sums)))
        spread(distances, np.ascontiguousarray(weights), self._step, mesh)
        return self._blur.peaks(mesh, u_sums)


def sum_peaks(
    distances: np.ndarray,
    weights: np.ndarray,
    u_sums: np.ndarray,
    grid: Grid,
    parameters: PDFParameters,
) -> np.ndarray:
    """What `Mesh.peaks` gives, by a mesh for these distances."""
    # Without any distance the mesh is short and empty.
    longest = distances.max(initial=1.0)
    mesh = Mesh(distances.min(initial=longest), longest, u_sums[0], grid, parameters)
    return mesh.peaks(distances, weights, u_sums)


class Blur:
    """The sums of Gaussians of weights on a mesh, at the points of a grid.

    A Gaussian is cut and rescaled as diffpy.srreal does it.

    Args:
        size: points of the mesh, of which the first MARGIN lie below 0.
        step: of the mesh, of which the grid's is a multiple, A.
        shortest: of the distances that were laid on the mesh, A.
    """

    def __init__(
        self, size: int, step: float, shortest: float, grid: Grid, parameters: PDFParameters
    ) -> None:
        self._step, self._grid = step, grid
        # Points too far below the shortest distance to share in it hold nothing.
        lowest = max(int(shortest / step) - STENCIL, 1)
        distance = np.maximum(np.arange(size) - MARGIN, lowest) * step
        self._lowest = lowest + MARGIN if lowest > 1 else 0
        self._stretch = peak_width(distance, 1.0, parameters) ** 2
        self._reach = _REACH * math.sqrt(self._stretch.max())

    def peaks(self, weights: np.ndarray, u_sums: np.ndarray) -> np.ndarray:
        """(V, grid.size) sums of weight * Gaussian(r - distance), one a column of weights (M, V).

        A row is the same to the last bit whatever the others are.

        Args:
            u_sums: (V,) rising sum of the two atoms' Uiso in each sum, A^2.
        """
        return sum_gaussians(
            weights,
            self._lowest,
            u_sums,
            self._stretch,
            self._step,
            round(self._grid.step / self._step),
            self._grid.size,
            self._reach,
            _RESCALE,
        )


class Shells:
    """Distances of all periodic images of vectors, equal ones as one.

    Args:
        vectors: (C, 3) fractional; an image at distance zero doesn't count.
        lattice: (3, 3) cell vectors as rows, A.
        longest: longest distance, A.
    """

    distances: np.ndarray

    def __init__(self, vectors: np.ndarray, lattice: np.ndarray, longest: float) -> None:
        wrapped = (vectors - np.rint(vectors)) @ lattice
        heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
        most = np.ceil(longest / heights + 0.5).astype(int)
        diagonal = np.linalg.norm(_DIAGONALS @ lattice, axis=1).max()
        self._member, squares = image_distances(wrapped, lattice, most, longest, diagonal)
        self._group, first = group_keys(np.rint(squares * _SAME).astype(np.int64))
        self.distances = np.sqrt(squares[first])

    def sum(self, weights: np.ndarray) -> np.ndarray:
        """(K, V) sums of the weights (C, V) of the vectors over the images at each distance."""
        return sum_groups(self._group, self._member, weights, len(self.distances))

    @property
    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """(E,) index of the vector and (E,) distance of each image, A."""
        return self._member, self.distances[self._group]
