"""Networks from (B, 2, R) scaled pristine and defective traces to (B, classes) logits."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

SMALL_NORM = 1e-4  # of a scaled change; the smallest defects of the study give about 1e-3
WINDOWS = (21, 81)  # points, of 2 and 8 A, in which the growth of the host's peaks is taken


class ReferenceCNN(nn.Module):
    """The reference study's CNN, layer for layer, on input seen as a (2, 1, R) image.

    With an image of height 1 the (7, 1) kernel sees single points and only the middle row of a
    3x3 kernel ever meets data; both are kept, since the aim is the published network. Its plain
    BatchNorm takes the statistics of one process's share of the batch, so the published
    behaviour (batch 32) is that of one process.
    """

    regression_outputs = 0

    def __init__(self, points: int, classes: int, dropout: float = 0.5):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, 64, (7, 1), stride=(2, 1), padding=(3, 0)),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Dropout(dropout),
            _ReferenceBlock(64, 128, dropout),
            _ReferenceBlock(128, 256, dropout),
            nn.Conv2d(256, 128, 1),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.AvgPool2d((1, 2)),
        )
        width = -(-points // 4) // 2  # two strides of 2 that round up, one pool that rounds down
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(128 * width, 512),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(512, classes),
        )

    def fit_inputs(self, pairs: torch.Tensor) -> None:
        """The study standardises nothing beyond the min-max scaling of the traces."""

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(pairs.unsqueeze(2)))


class _ReferenceBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, dropout: float):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=2), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.main(x) + self.shortcut(x))


class ResidualCNN(nn.Module):
    """A 1-D residual CNN without normalisation layers, on what the defects changed.

    Amplitudes are what tells a self-interstitial from an impurity, so no layer rescales them
    (a batch norm would also mean another thing on more processes); residual branches that start
    at zero keep the depth trainable (Zhang, Dauphin and Ma, ICLR 2019). Its input is the pristine
    trace, the change at unit norm, and how much the host's own peaks grew or shrank: over the
    whole range and in moving windows. After the logits come two regressions: 10 x concentration
    and ln of the atomic-number ratio.
    """

    regression_outputs = 2
    mean: torch.Tensor
    deviation: torch.Tensor
    scalar_mean: torch.Tensor
    scalar_deviation: torch.Tensor

    def __init__(self, points: int, classes: int, width: int = 24):
        super().__init__()
        curves, scalars = 3 + len(WINDOWS), 4
        self.register_buffer("mean", torch.zeros(curves, points))
        self.register_buffer("deviation", torch.ones(curves, points))
        self.register_buffer("scalar_mean", torch.zeros(scalars))
        self.register_buffer("scalar_deviation", torch.ones(scalars))
        widths = (width, 2 * width, 4 * width)
        layers: list[nn.Module] = [nn.Conv1d(curves, width, 7, stride=2, padding=3)]
        for before, after in zip((width, *widths), widths, strict=False):
            layers += [_Block(before, after), _Block(after, after)]
        layers += [nn.ReLU(), nn.Conv1d(widths[-1], 32, 1), nn.Flatten()]
        self.body = nn.Sequential(*layers)
        length = math.ceil(points / 8)  # three strides of 2
        self.head = nn.Sequential(
            nn.Linear(32 * length + scalars, 256),
            nn.ReLU(),
            nn.Linear(256, classes + self.regression_outputs),
        )

    def features(self, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 5, R) curves and (B, 4) scalars of pairs (B, 2, R)."""
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

    def fit_inputs(self, pairs: torch.Tensor) -> None:
        """Take the standardisation of the features from training pairs (n, 2, R)."""
        curves, scalars = self.features(pairs)
        self.mean.copy_(curves.mean(0))
        # The floor keeps points where nothing happens, as below the first shell, small.
        self.deviation.copy_(curves.std(0) + 0.03 * curves.std((0, 2))[:, None])
        self.scalar_mean.copy_(scalars.mean(0))
        self.scalar_deviation.copy_(scalars.std(0) + SMALL_NORM)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        curves, scalars = self.features(pairs)
        hidden = self.body((curves - self.mean) / self.deviation)
        scalars = (scalars - self.scalar_mean) / self.scalar_deviation
        return self.head(torch.cat([hidden, scalars], dim=1))


def _window_mean(curve: torch.Tensor, window: int) -> torch.Tensor:
    return F.avg_pool1d(curve, window, 1, window // 2, count_include_pad=False)


class _Block(nn.Module):
    """Two convolutions around an identity, or around a projection where the width doubles."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        stride = 1 if inputs == outputs else 2
        last = nn.Conv1d(outputs, outputs, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.main = nn.Sequential(
            nn.ReLU(), nn.Conv1d(inputs, outputs, 3, stride, padding=1), nn.ReLU(), last
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = nn.Conv1d(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x) + self.shortcut(x)


Model = ReferenceCNN | ResidualCNN
MODELS: dict[str, type[Model]] = {"reference": ReferenceCNN, "residual": ResidualCNN}


def build_model(name: str, points: int, classes: int) -> Model:
    return MODELS[name](points, classes)
