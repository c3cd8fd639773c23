"""What a network takes of two traces: a scaled pair, of which a refinement has had its share.

Before a measured PDF can be compared with its host, scale, cell, displacements and instrument are
refined against it, and these take up part of what a defect changes: all that a vacancy does, if
the scale is free. A network for measured PDFs has to learn from what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn

Scaling = Literal["shared", "trace"]
Refinable = Literal["scale", "cell", "uiso", "qdamp", "qbroad", "delta2"]
Absorbed = Refinable | Literal["peak_shape"]
ABSORBABLE: tuple[Refinable, ...] = get_args(Refinable)
"""What a refinement has taken up, if it was not kept."""
_ROWS = 1024  # whose tangents are in memory together
_RIDGE = 1e-9  # of unit vectors, that two parameters of one effect do no harm


class PairInput(nn.Module):
    """(n, 2, R) input of a network from G(r) of pristine and defective crystals, each (n, R).

    Args:
        scaling: as of `scale_pairs`.
        absorbed: what is refined against the defective trace. The change loses its components
            along the derivatives of the pristine trace by these, in first order as a least-squares
            fit takes them up: G for the scale, r G' for the cell (where it has one length), G'' for
            Uiso, r^2 G for qdamp, r^2 G'' for qbroad, G'' / r^2 for delta2. No refinement takes up
            `peak_shape`, which stands for damping and broadening that depend on r in another way
            than thought: r G, r^3 G, G'' / r, r G'' and r^3 G''.
        r: (R,) points of the traces, A.
    """

    first: torch.Tensor
    second: torch.Tensor
    r: torch.Tensor

    def __init__(
        self, scaling: Scaling, absorbed: Sequence[Absorbed] = (), r: Sequence[float] = ()
    ) -> None:
        super().__init__()
        self.scaling, self.absorbed = scaling, tuple(absorbed)
        if self.absorbed:
            from scipy.interpolate import CubicSpline

            spline = CubicSpline(r, np.eye(len(r)))
            for name, order in (("first", 1), ("second", 2)):
                matrix = torch.from_numpy(spline.derivative(order)(r).T.copy())
                self.register_buffer(name, matrix, persistent=False)
            self.register_buffer("r", torch.tensor(r, dtype=torch.double), persistent=False)

    def forward(self, pristine: torch.Tensor, defective: torch.Tensor) -> torch.Tensor:
        if self.absorbed:
            defective = self.refined(pristine, defective)
        return scale_pairs(pristine, defective, self.scaling)

    def refined(self, pristine: torch.Tensor, defective: torch.Tensor) -> torch.Tensor:
        """The defective traces (n, R) less what the absorbed parameters can explain."""
        if torch.compiler.is_compiling():  # for any number of rows, of which none can be counted
            return self._refined(pristine, defective)
        rows = zip(pristine.split(_ROWS), defective.split(_ROWS), strict=True)
        return torch.cat([self._refined(host, other) for host, other in rows])

    def _refined(self, host: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        tangents = self.tangents(host.double())
        change = (other - host).double().unsqueeze(2)
        products = tangents.mT @ tangents
        ridge = _RIDGE * torch.eye(tangents.shape[2], device=host.device, dtype=torch.double)
        amounts = torch.linalg.solve(products + ridge, tangents.mT @ change)
        return host + (change - tangents @ amounts).squeeze(2).to(host.dtype)

    def tangents(self, host: torch.Tensor) -> torch.Tensor:
        """(n, R, K) unit vectors of what the absorbed parameters change in traces (n, R)."""
        first, second, r = host @ self.first, host @ self.second, self.r
        from_0 = r.clamp(min=1e-3)  # G is 0 at r = 0
        by_name = {
            "scale": [host],
            "cell": [r * first],
            "uiso": [second],
            "qdamp": [r**2 * host],
            "qbroad": [r**2 * second],
            "delta2": [second / from_0**2],
            "peak_shape": [r * host, r**3 * host, second / from_0, r * second, r**3 * second],
        }
        # Beyond the end of a shorter measurement there is nothing to fit.
        of_all = [one * (host != 0) for name in self.absorbed for one in by_name[name]]
        tangents = torch.stack(of_all, dim=2)
        return torch.nn.functional.normalize(tangents, dim=1)


def scale_pairs(pristine: torch.Tensor, defective: torch.Tensor, scaling: Scaling) -> torch.Tensor:
    """(n, 2, R) of G(r) of the pristine and the defective crystal, each (n, R).

    `trace` maps each trace to 0..1 by its own minimum and maximum, as in the reference study.
    `shared` uses the pristine's for both and so keeps the relative amplitude, the one thing that
    tells a self-interstitial from an impurity: peak ratios alone fix only the product of the
    concentration and the relative scattering power.
    """
    pair = torch.stack([pristine, defective], dim=1)
    source = pair if scaling == "trace" else pair[:, :1]
    low, high = source.amin(-1, keepdim=True), source.amax(-1, keepdim=True)
    return (pair - low) / (high - low)


def without(change: np.ndarray, taken_up: np.ndarray) -> np.ndarray:
    """Changes (..., R) less their components along (R, K)."""
    return change - (change @ taken_up) @ taken_up.T
