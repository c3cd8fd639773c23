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
    3x3 kernel ever meets data; both are kept, since the aim is the published network. Its batch
    statistics are those of the global batch, or with `accumulation` of a part of it, so the
    published batch of 32 is 32 on any number of processes. The study's `dropout` is 0.5.
    """

    regressions = 0

    def __init__(self, r: Sequence[float], classes: int, dropout: float = 0.5):
        super().__init__()
        self.body = nn.Sequential(
            _MiddleRow(2, 64, (7, 1), stride=(2, 1), padding=(3, 0)),
            SyncedBatchNorm(64),
            nn.ReLU(),
            _Dropout(dropout),
            _Block(64, 128, dropout),
            _Block(128, 256, dropout),
            nn.Conv2d(256, 128, 1),
            SyncedBatchNorm(128),
            nn.ReLU(),
            _Dropout(dropout),
            nn.AvgPool2d((1, 2)),
        )
        width = -(-len(r) // 4) // 2  # two strides of 2 that round up, one pool that rounds down
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(128 * width, 512), nn.ReLU(), _Dropout(dropout)
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


class _Dropout(nn.Dropout):
    """Dropout with p to 16 bits, of which CPUs draw four elements' at once.

    torch draws for one element after the other there, a quarter of a training step on two cores.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x with a share p of its elements 0 and the others larger by 1 / (1 - p)."""
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        words = torch.randint(-(2**63), 2**63 - 1, (-(-x.numel() // 4),))
        drawn = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = drawn >= int(self.p * 2**16) - 2**15
        return x * kept.to(x.dtype).div_(1 - self.p)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, dropout: float):
        super().__init__()
        self.main = nn.Sequential(
            _MiddleRow(inputs, outputs, 3, stride=2, padding=1),
            SyncedBatchNorm(outputs),
            nn.ReLU(),
            _Dropout(dropout),
            _MiddleRow(outputs, outputs, 3, padding=1),
            SyncedBatchNorm(outputs),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=2), SyncedBatchNorm(outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, outputs, 1, R / 2) of (B, inputs, 1, R), R / 2 rounded up."""
        return F.relu(self.main(x) + self.shortcut(x))
