"""The convolutional network of the reference study."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from train.models.synced_norm import SyncedBatchNorm


class ReferenceCNN(nn.Module):
    """The reference study's CNN, layer for layer, on input seen as a (2, 1, R) image.

    With an image of height 1 the (7, 1) kernel sees single points and only the middle row of a
    3x3 kernel ever meets data; both are kept, since the aim is the published network (L. Lan, PhD
    thesis, Columbia University, chapter 6; https://github.com/lanikaling/PointDefectLearn). Before
    the last layers its dropout, of 0.5 in the study, is of whole channels. Its batch statistics are
    those of the global batch, or with `accumulation` of a part of it, so the published batch of 32
    is 32 on any number of processes.
    """

    regressions = 0

    def __init__(self, r: Sequence[float], classes: int, dropout: float = 0.5):
        super().__init__()
        self.body = nn.Sequential(
            _MiddleRow(2, 64, (7, 1), stride=(2, 1), padding=(3, 0), bias=False),
            SyncedBatchNorm(64),
            nn.ReLU(),
            nn.Dropout2d(dropout),
            _Block(64, 128, dropout),
            _Block(128, 256, dropout),
            nn.Conv2d(256, 128, 1, bias=False),
            SyncedBatchNorm(128),
            nn.ReLU(),
            nn.Dropout2d(dropout),
            nn.AvgPool2d((1, 2)),
        )
        width = -(-len(r) // 4) // 2  # two strides of 2 that round up, one pool that rounds down
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(128 * width, 512), nn.ReLU(), nn.Dropout(dropout)
        )
        self.last = nn.Linear(512, classes)

    def fit_inputs(self, pairs: torch.Tensor) -> None:
        """The study standardises nothing beyond the min-max scaling of the traces."""

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """(B, classes) logits of pairs (B, 2, R)."""
        return self.last(self.represent(pairs))

    def represent(self, pairs: torch.Tensor) -> torch.Tensor:
        """(B, H) what the logits are linear in, of pairs (B, 2, R)."""
        return self.hidden(self.body(pairs.unsqueeze(2)))


class _MiddleRow(nn.Conv2d):
    """A convolution of images of height 1, to which the kernel's other rows add but zeros."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, outputs, 1, W / stride) of (B, inputs, 1, W), rounded up."""
        middle = self.kernel_size[0] // 2
        row = self.weight[:, :, middle : middle + 1]
        return F.conv2d(x, row, self.bias, (1, self.stride[1]), (0, int(self.padding[1])))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, dropout: float):
        super().__init__()
        self.main = nn.Sequential(
            _MiddleRow(inputs, outputs, 3, stride=2, padding=1, bias=False),
            SyncedBatchNorm(outputs),
            nn.ReLU(),
            nn.Dropout2d(dropout),
            _MiddleRow(outputs, outputs, 3, padding=1, bias=False),
            SyncedBatchNorm(outputs),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=2, bias=False), SyncedBatchNorm(outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, outputs, 1, R / 2) of (B, inputs, 1, R), R / 2 rounded up."""
        return F.relu(self.main(x) + self.shortcut(x))
