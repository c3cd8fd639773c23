"""A one-dimensional residual network, along r or along Q."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from train.models.blocks import OutputLayers, ResidualBlock, as_images, convolution
from train.models.features import PairFeatures, Space


class ResidualCNN(nn.Module):
    """A 1-D residual CNN without normalisation layers, on what the defects changed.

    Amplitudes are what tells a self-interstitial from an impurity, so no layer rescales them;
    residual branches that start at zero keep the depth trainable (H. Zhang, Y. N. Dauphin and
    T. Ma, ICLR 2019). After the logits come two regressions, concentration / 0.1 and ln of the
    atomic-number ratio, and then ln of the standard deviation of each.

    Args:
        r: points of the traces, A.
        space: whether it convolves along r or, after a sine transform of the traces, along Q.
    """

    regressions = 2

    def __init__(
        self,
        r: Sequence[float],
        classes: int,
        space: Space,
        dropout: float = 0.0,
        width: int = 24,
    ):
        super().__init__()
        self.features = PairFeatures(r, space)
        widths = (width, 2 * width, 4 * width)
        layers: list[nn.Module] = [convolution(PairFeatures.CURVES, width, 7, stride=2)]
        for before, after in zip((width, *widths), widths, strict=False):
            layers.append(ResidualBlock(before, after))
        layers += [nn.ReLU(), convolution(widths[-1], 32, 1), nn.Flatten()]
        self.body = nn.Sequential(*layers)
        length = math.ceil(self.features.points / 8)  # three strides of 2
        inputs = 32 * length + PairFeatures.SCALARS
        self.head = OutputLayers(inputs, classes, self.regressions, dropout)

    def fit_inputs(self, pairs: torch.Tensor) -> None:
        """Take the standardisation of the features from training pairs (n, 2, R)."""
        self.features.fit(pairs)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """(B, classes + 4) logits, regressions and their ln deviations of pairs (B, 2, R)."""
        return self.head(self._flat(pairs))

    def represent(self, pairs: torch.Tensor) -> torch.Tensor:
        """(B, H) what the outputs are linear in, of pairs (B, 2, R)."""
        return self.head.hidden(self._flat(pairs))

    def _flat(self, pairs: torch.Tensor) -> torch.Tensor:
        curves, scalars = self.features(pairs)
        return torch.cat([self.body(as_images(curves)), scalars], dim=1)
