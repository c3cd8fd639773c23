"""What the one-dimensional networks see of a pair of traces, along r or along Q."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

Space = Literal["real", "reciprocal"]
WINDOWS = {"real": (21, 81), "reciprocal": (5, 21)}
"""Points in which the growth of the host's peaks is taken: 2 and 8 A, 0.5 and 2 1/A."""
LOWEST_Q, HIGHEST_Q = 0.5, 25.0  # 1/A, what instruments and thermal motion leave of metals
SMALL_NORM = 1e-4  # of a scaled change; the smallest defects of the study give about 1e-3
SMALL_PEAK = 1e-3  # of the mean square of a trace, where the host has no peaks


class PairFeatures(nn.Module):
    """Curves and scalars of a pair, standardised by what `fit` found in the training pairs.

    The curves are the pristine trace, the change at unit norm, what of the change is no growth of
    the host's own peaks, and how much those grew or shrank in moving windows. The scalars are ln
    of the size of the change, the growth over the whole range, in itself and in units of the
    change, and ln of the size of the rest.

    In reciprocal space the curves are those of F(Q) = S(Q) - 1 times Q. There a defect changes
    the intensity of each Bragg peak of the host by a factor of its own, (1 + x z S_I / S_H)^2 for
    a fraction x of interstitials of relative scattering power z with structure factors S, times
    (1 + x) / (1 + x z)^2, where the peaks of G(r) have several parts on top of each other.

    Args:
        r: points of the traces, A, rising and nearly even.
    """

    CURVES = 5
    SCALARS = 4
    mean: torch.Tensor
    deviation: torch.Tensor
    scalar_mean: torch.Tensor
    scalar_deviation: torch.Tensor
    transform: torch.Tensor | None

    def __init__(self, r: Sequence[float], space: Space):
        super().__init__()
        transform = sine_transform(r) if space == "reciprocal" else None
        self.register_buffer("transform", transform, persistent=False)
        self.points = len(r) if transform is None else len(transform)
        self.windows = WINDOWS[space]
        self.register_buffer("mean", torch.zeros(self.CURVES, self.points))
        self.register_buffer("deviation", torch.ones(self.CURVES, self.points))
        self.register_buffer("scalar_mean", torch.zeros(self.SCALARS))
        self.register_buffer("scalar_deviation", torch.ones(self.SCALARS))

    def forward(self, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Standardised curves and scalars of pairs (B, 2, R).

        Returns:
            (B, CURVES, points) and (B, SCALARS).
        """
        curves, scalars = self.measure(pairs)
        return (
            (curves - self.mean) / self.deviation,
            (scalars - self.scalar_mean) / self.scalar_deviation,
        )

    def fit(self, pairs: torch.Tensor) -> None:
        """Take the standardisation from training pairs (n, 2, R)."""
        curves, scalars = self.measure(pairs)
        self.mean.copy_(curves.mean(0))
        # The floor keeps points where nothing happens, as below the first shell, small.
        self.deviation.copy_(curves.std(0) + 0.03 * curves.std((0, 2))[:, None])
        self.scalar_mean.copy_(scalars.mean(0))
        self.scalar_deviation.copy_(scalars.std(0) + SMALL_NORM)

    def measure(self, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `forward`, not standardised."""
        # G averages to about zero over a long range, so these are G in units of its range.
        pairs = pairs - pairs.mean(-1, keepdim=True)
        if self.transform is not None:
            # Autocast leaves double precision alone; bfloat16 would drown what defects change.
            pairs = (pairs.double() @ self.transform.T).to(pairs.dtype)
        host = pairs[:, 0]
        change = pairs[:, 1] - host
        power = host.square()
        growth = (change * host).sum(-1, keepdim=True) / power.sum(-1, keepdim=True)
        rest = change - growth * host
        size, rest_size = (t.norm(dim=-1, keepdim=True) + SMALL_NORM for t in (change, rest))
        floor = SMALL_PEAK * power.mean(-1, keepdim=True)
        local_growth = [
            _window_mean(change * host, window) / (_window_mean(power, window) + floor) / size
            for window in self.windows
        ]
        curves = torch.stack([host, change / size, rest / rest_size, *local_growth], dim=1)
        return curves, torch.cat([size.log(), growth, growth / size, rest_size.log()], dim=1)


def sine_transform(r: Sequence[float]) -> torch.Tensor:
    """The matrix (K, R) that takes G on the points r to F(Q), of about equal norm.

    Q are the multiples of pi / r[-1] in the range above, which the points of r can tell apart. G
    is tapered by a cosine to zero at the last r, against ripples around the Bragg peaks.
    """
    along_r = torch.as_tensor(r, dtype=torch.double)
    last, steps = along_r[-1], along_r.diff()
    step = steps.mean()
    weight = torch.zeros_like(along_r)  # of the trapezoidal rule: r is evenly spaced but nearly
    weight[:-1] += steps / 2
    weight[1:] += steps / 2
    taper = torch.cos(math.pi / 2 * along_r / (last + step))
    highest = min(HIGHEST_Q, math.pi / float(step))
    order = torch.arange(math.ceil(LOWEST_Q * last / math.pi), int(highest * last / math.pi) + 1)
    q = order * math.pi / last
    return torch.sin(q[:, None] * along_r) * (taper * weight / step) * math.sqrt(2 / len(along_r))


def _window_mean(curve: torch.Tensor, window: int) -> torch.Tensor:
    return F.avg_pool1d(curve, window, 1, window // 2, count_include_pad=False)
