"""Batch normalisation whose statistics are those of the global batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn


class SyncedBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d over the shares of all processes, equal or not, on CPUs and GPUs.

    torch's SyncBatchNorm does this on GPUs only. Alone, or in evaluation, it is BatchNorm2d. In
    training every process has to take part in each forward and backward pass.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor
    momentum: float

    def __init__(self, channels: int):
        super().__init__(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) of this process's share (B, C, H, W), normalised by channel."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        wide = x.to(self.weight.dtype)  # under autocast x is of half precision, too coarse for sums
        size = wide.new_full((1,), x.numel() / self.num_features)
        sums = _SumOverProcesses.apply(torch.cat([wide.sum((0, 2, 3)), size]))
        mean, count = sums[:-1] / sums[-1], sums[-1]
        # A second exchange, since the mean square less the squared mean loses its digits.
        centred = wide - mean[:, None, None]
        variance = _SumOverProcesses.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """The sum on every process; so each one's gradient is the sum of all gradients, too."""

    @staticmethod
    def forward(context: Any, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total
