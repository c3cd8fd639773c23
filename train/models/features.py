"""What the one-dimensional networks see of a pair of traces."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

SMALL_NORM = 1e-4  # of a scaled change; the smallest defects of the study give about 1e-3
WINDOWS = (21, 81)  # points, of 2 and 8 A, in which the growth of the host's peaks is taken


class PairFeatures(nn.Module):
    """Curves and scalars of a pair, standardised by what `fit` found in the training pairs.

    The curves are the pristine trace, the change at unit norm, what of the change is no growth of
    the host's own peaks, and how much those grew or shrank in moving windows. The scalars are ln
    of the size of the change, the growth over the whole range, in itself and in units of the
    change, and ln of the size of the rest.
    """

    CURVES = 3 + len(WINDOWS)
    SCALARS = 4
    mean: torch.Tensor
    deviation: torch.Tensor
    scalar_mean: torch.Tensor
    scalar_deviation: torch.Tensor

    def __init__(self, points: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(self.CURVES, points))
        self.register_buffer("deviation", torch.ones(self.CURVES, points))
        self.register_buffer("scalar_mean", torch.zeros(self.SCALARS))
        self.register_buffer("scalar_deviation", torch.ones(self.SCALARS))

    def forward(self, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, CURVES, R) standardised curves and (B, SCALARS) scalars of pairs (B, 2, R)."""
        curves, scalars = measure_pairs(pairs)
        return (
            (curves - self.mean) / self.deviation,
            (scalars - self.scalar_mean) / self.scalar_deviation,
        )

    def fit(self, pairs: torch.Tensor) -> None:
        """Take the standardisation from training pairs (n, 2, R)."""
        curves, scalars = measure_pairs(pairs)
        self.mean.copy_(curves.mean(0))
        # The floor keeps points where nothing happens, as below the first shell, small.
        self.deviation.copy_(curves.std(0) + 0.03 * curves.std((0, 2))[:, None])
        self.scalar_mean.copy_(scalars.mean(0))
        self.scalar_deviation.copy_(scalars.std(0) + SMALL_NORM)


def measure_pairs(pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, CURVES, R) curves and (B, SCALARS) scalars of pairs (B, 2, R), not standardised."""
    pristine = pairs[:, 0]
    change = pairs[:, 1] - pristine
    # G averages to about zero over a long range, so this is G in units of its range.
    host = pristine - pristine.mean(-1, keepdim=True)
    growth = (change * host).sum(-1, keepdim=True) / host.square().sum(-1, keepdim=True)
    rest = change - growth * host
    size, rest_size = (t.norm(dim=-1, keepdim=True) + SMALL_NORM for t in (change, rest))
    local_growth = [
        _window_mean(change * host, window)
        / (_window_mean(host.square(), window) + SMALL_NORM)
        / size
        for window in WINDOWS
    ]
    curves = torch.stack([pristine, change / size, rest / rest_size, *local_growth], dim=1)
    return curves, torch.cat([size.log(), growth, growth / size, rest_size.log()], dim=1)


def _window_mean(curve: torch.Tensor, window: int) -> torch.Tensor:
    return F.avg_pool1d(curve, window, 1, window // 2, count_include_pad=False)
