"""A transformer over positions along r, behind a few convolutions."""

from __future__ import annotations

import torch
from torch import nn

from train.models.blocks import ResidualBlock, as_images, convolution, output_layers
from train.models.features import PairFeatures

CHANNELS, WIDTH, HEADS, LAYERS = 24, 64, 4, 2
STRIDE = 8  # points from one position to the next, after both strided convolutions


class ConvolutionalTransformer(nn.Module):
    """Two transformer layers over every eighth point, on what the defects changed.

    Convolutions make the positions from the curves, which trains better than cutting the curves
    into patches (T. Xiao et al., NeurIPS 2021); the layers are pre-norm (R. Xiong et al., ICML
    2020), their norms see one position each. The scalars are one more position. Positions are
    not averaged at the end: where along r something changed is what is asked for. After the
    logits come two regressions: 10 x concentration and ln of the atomic-number ratio.

    It costs 1.6 times as much per step as ResidualCNN and is no better; docs/training.md has the
    numbers.
    """

    regression_outputs = 2

    def __init__(self, points: int, classes: int, dropout: float = 0.0):
        super().__init__()
        self.features = PairFeatures(points)
        self.body = nn.Sequential(
            convolution(PairFeatures.CURVES, CHANNELS, 7, stride=2),
            ResidualBlock(CHANNELS, CHANNELS),
            ResidualBlock(CHANNELS, CHANNELS),
            nn.ReLU(),
            convolution(CHANNELS, WIDTH, 5, stride=STRIDE // 2),
        )
        length = -(-points // STRIDE)  # strides round up
        self.position = nn.Parameter(0.02 * torch.randn(length, WIDTH))
        self.scalars = nn.Linear(PairFeatures.SCALARS, WIDTH)
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    WIDTH, HEADS, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
                )
                for _ in range(LAYERS)
            ),
            nn.Linear(WIDTH, 32),
            nn.Flatten(),
        )
        inputs = 32 * (length + 1) + PairFeatures.SCALARS
        self.head = output_layers(inputs, classes + self.regression_outputs, dropout)

    def fit_inputs(self, pairs: torch.Tensor) -> None:
        """Take the standardisation of the features from training pairs (n, 2, R)."""
        self.features.fit(pairs)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """(B, classes + 2) logits and regressions of pairs (B, 2, R)."""
        curves, scalars = self.features(pairs)
        along_r = self.body(as_images(curves)).squeeze(2).transpose(1, 2) + self.position
        tokens = torch.cat([self.scalars(scalars)[:, None], along_r], dim=1)
        return self.head(torch.cat([self.layers(tokens), scalars], dim=1))
