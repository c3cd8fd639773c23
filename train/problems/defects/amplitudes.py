"""The few numbers by which a pair of traces on one scale differs in size, and none of its shape."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from train.problems.defects.inputs import PairInput

AMPLITUDES = 7


class Amplitudes(nn.Module):
    """(n, AMPLITUDES + 1) numbers of G(r) of pristine and defective crystals, each (n, R).

    Defective over pristine: the slope of the line through the origin before the first peak, where
    G(r) = -4 pi r rho0 (Egami and Billinge, Underneath the Bragg Peaks), the maximum, the minimum,
    the root mean square, the mean, and the projection on the pristine trace and what that leaves
    in units of its norm. Last, of shape, the correlation of the pristine trace and the change.

    Args:
        inputs: what a refinement takes up is taken out first, as of its `refined`.
        r: (R,) points of the traces, A.
    """

    def __init__(self, inputs: PairInput, r: Sequence[float]) -> None:
        super().__init__()
        self._pair = inputs
        self._r = torch.tensor(r, dtype=torch.double)

    def forward(self, pristine: Tensor, defective: Tensor) -> Tensor:
        if self._pair.absorbed:
            defective = self._pair.refined(pristine, defective)
        host, other = pristine.double(), defective.double()
        before_peaks = (host > 0).cumsum(1) == 0
        line = self._r * before_peaks
        size = host.norm(dim=1)
        projection = (host * other).sum(1) / size.square()
        rest = other - projection[:, None] * host
        found = [
            (other * line).sum(1) / (host * line).sum(1),
            other.amax(1) / host.amax(1),
            other.amin(1) / host.amin(1),
            other.norm(dim=1) / size,
            other.mean(1) / host.mean(1),
            projection,
            rest.norm(dim=1) / size,
            nn.functional.cosine_similarity(host, other - host),
        ]
        # A trace that begins in a peak has no slope before it.
        return torch.stack(found, dim=1).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
