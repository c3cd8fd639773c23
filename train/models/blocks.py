"""Layers shared by the one-dimensional networks.

Convolutions along r work on images of height 1, which can have their channels last in memory: a
CPU has faster convolutions for that than Conv1d, by an eighth of a training step of ResidualCNN.
"""

from __future__ import annotations

import torch
from torch import nn

HIDDEN = 256  # features that the outputs are linear in
LOG_DEVIATION, LOG_RANGE = -3.0, 5.0
"""Middle and half width of the range of ln of deviations, so that a step can't make them absurd."""


class ResidualBlock(nn.Module):
    """Two convolutions around an identity, or around a projection where the width changes.

    There the length is halved. A block starts as its shortcut: the last weights are zero.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        stride = 1 if inputs == outputs else 2
        last = convolution(outputs, outputs, 3)
        nn.init.zeros_(last.weight)
        self.main = nn.Sequential(
            nn.ReLU(), convolution(inputs, outputs, 3, stride), nn.ReLU(), last
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = convolution(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, outputs, 1, L / stride), rounded up, of (B, inputs, 1, L)."""
        return self.main(x) + self.shortcut(x)


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution of images (B, inputs, 1, L) along their width, to L / stride rounded up."""
    return nn.Conv2d(inputs, outputs, (1, kernel), (1, stride), (0, kernel // 2))


def as_images(curves: torch.Tensor) -> torch.Tensor:
    """Curves (B, C, R) as images (B, C, 1, R) with the channels last in memory."""
    return curves.unsqueeze(2).contiguous(memory_format=torch.channels_last)


class OutputLayers(nn.Module):
    """From flat features to logits, regressions and ln of the regressions' standard deviations."""

    def __init__(self, inputs: int, classes: int, regressions: int, dropout: float):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Dropout(dropout))
        self.last = nn.Linear(HIDDEN, classes + regressions)
        self.log_deviation = nn.Linear(HIDDEN, regressions)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, classes + 2 regressions) of (B, inputs)."""
        hidden = self.hidden(x)
        # How wrong the values are is read off the features; it shall not shape them.
        log_deviation = self.log_deviation(hidden.detach())
        bounded = LOG_DEVIATION + LOG_RANGE * torch.tanh(
            (log_deviation - LOG_DEVIATION) / LOG_RANGE
        )
        return torch.cat([self.last(hidden), bounded], dim=1)
