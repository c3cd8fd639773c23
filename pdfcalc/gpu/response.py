"""Weights on a mesh of distances to G(r), as one matrix product on a GPU.

`pdfcalc.pdf.peaks` and `pdfcalc.pdf.response` describe the computation and give its constants. Here
the blur and the instrument's response are multiplied out beforehand: row m of a matrix P(u) is G(r)
of a pair at mesh point m with sum of Uiso u. P is smooth in log u, so that Chebyshev's
interpolation (Trefethen, Approximation Theory and Approximation Practice, 2013, ch. 5) between a
few nodes gives it for any u, and no distance, Uiso or host needs a matrix of its own:

    G = sum over nodes n and mesh points m of  (sum over u of  share_n(u) weight_um)  P_nm(r)

The mesh need not fit the samples, so that its step is the coarsest that the peaks allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pdfcalc.gpu.device import full_precision
from pdfcalc.kernels.mesh import MARGIN, STENCIL
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.pdf.peaks import longest_distance, mesh_fineness, peak_height, peak_width
from pdfcalc.pdf.response import baseline_response, instrument_response, sampling_strides

_NODES = (4.0, 3.7)
"""So many nodes, and more by this times log(highest / lowest), interpolate exp(-x u) to 1e-6."""
_SAMPLES_AT_ONCE = 1 << 21


class MeshResponse:
    """What weights on a mesh of distances add to G(r) at R points.

    Args:
        points: indices of the wanted points in `parameters.r`.
        shortest: distance of the closest pairs, A.
        u_sums: lowest and highest sum of the two atoms' Uiso, A^2.
    """

    def __init__(
        self,
        parameters: PDFParameters,
        points: Sequence[int],
        shortest: float,
        u_sums: tuple[float, float],
        device: torch.device,
    ) -> None:
        points = tuple(points)
        self.u_sums = low, high = u_sums
        self.n_points = len(points)
        self.step = mesh_fineness(shortest, low, parameters)
        coarsest = instrument_response(
            parameters, points, int(_strides(parameters, shortest, high)[0])
        )
        self.longest = longest_distance(coarsest.grid, high, parameters)
        self.size = math.ceil(self.longest / self.step) + 2 * MARGIN
        self.n_nodes = math.ceil(_NODES[0] + _NODES[1] * math.log(high / low)) if high > low else 1
        self._middle = 0.5 * math.log(low * high)
        self._half = max(0.5 * math.log(high / low), 1e-12)
        angles = math.pi * (torch.arange(self.n_nodes, dtype=torch.float64) + 0.5) / self.n_nodes
        orders = torch.arange(self.n_nodes)
        shares = 2 / self.n_nodes * torch.cos(orders[:, None] * angles)
        shares[0] /= 2
        self._orders, self._shares = orders.to(device), shares.to(device)
        nodes = torch.exp(self._middle + self._half * torch.cos(angles)).tolist()
        self._matrix = torch.cat(
            [self._of_one_u(parameters, points, shortest, u_sum, device) for u_sum in nodes]
        )
        baseline = baseline_response(parameters, points).astype(np.float32)
        self._baseline = torch.from_numpy(baseline).to(device)

    def _of_one_u(
        self,
        parameters: PDFParameters,
        points: tuple[int, ...],
        shortest: float,
        u_sum: float,
        device: torch.device,
    ) -> Tensor:
        """(M, R) G(r) of one pair at each mesh point."""
        distance = (np.arange(self.size) - MARGIN) * self.step
        # Points too far below the shortest distance to share in it hold nothing.
        lowest = max(shortest - STENCIL * self.step, self.step)
        width = peak_width(np.maximum(distance, lowest), u_sum, parameters)
        stride = int(_strides(parameters, shortest, u_sum)[0])
        response = instrument_response(parameters, points, stride)
        samples = torch.from_numpy(response.grid.r).to(device)
        to_points = torch.from_numpy(response.matrix).to(device, torch.float64)
        rows = []
        at_once = max(1, _SAMPLES_AT_ONCE // len(samples))
        for start in range(0, self.size, at_once):
            block = slice(start, start + at_once)
            centre, sigma, height = (
                torch.from_numpy(values[block, None]).to(device)
                for values in (distance, width, peak_height(width))
            )
            peaks = height * torch.exp(-0.5 * ((samples - centre) / sigma) ** 2)
            rows.append((peaks @ to_points).float())
        return torch.cat(rows)

    @property
    def bytes_per_pdf(self) -> int:
        """Memory that `pdfs` takes for each G(r) beside its arguments."""
        return 4 * self.n_nodes * (self.size + 3)

    def pdfs(self, weights: Tensor, u_sums: Tensor, number_density: Tensor) -> Tensor:
        """G(r) of B structures, each with its weights for K sums of Uiso.

        Args:
            weights: (B, K, M) of pairs over N <b>^2 and their distance, on the mesh, 1/A.
            u_sums: (B, K) between those prepared for, A^2.
            number_density: (B,) atoms per A^3.

        Returns:
            (B, R) 1/A^2.
        """
        with full_precision():
            on_nodes = self._node_shares(u_sums).transpose(1, 2) @ weights
            g = torch.outer(number_density.to(weights.dtype), self._baseline)
            return g.addmm_(on_nodes.flatten(1), self._matrix)

    def _node_shares(self, u_sums: Tensor) -> Tensor:
        """(B, K, n) what each node counts in the interpolation at each sum of Uiso."""
        x = (u_sums.double().log() - self._middle) / self._half
        angle = torch.acos(x.clamp(-1, 1))
        return (torch.cos(angle[..., None] * self._orders) @ self._shares).float()


def _strides(parameters: PDFParameters, shortest: float, u_sum: float) -> np.ndarray:
    return sampling_strides(parameters, peak_width(np.array([shortest]), u_sum, parameters))
