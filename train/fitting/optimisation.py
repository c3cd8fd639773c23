"""Optimiser, learning-rate schedule and running average of the weights, as a recipe asks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from train.setup.recipes import Recipe

WARM_UP = 0.15  # fraction of the steps of the one-cycle schedule


def make_optimizer(recipe: Recipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    rate: Any = recipe.learning_rate
    options: dict[str, Any] = {"fused": True}
    if parameters[0].is_cuda:
        # A CUDA graph reads the rate where it lies when it is replayed.
        rate = torch.tensor(rate, device=parameters[0].device)
        options["capturable"] = True
    if not recipe.weight_decay:
        return torch.optim.Adam(parameters, rate, **options)
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        # No decay of biases and norms.
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, rate, **options)


def make_scheduler(recipe: Recipe, optimizer: torch.optim.Optimizer, batches: int) -> Any:
    if recipe.schedule == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.85, patience=5, threshold=0.005, min_lr=1e-7
        )
    steps = recipe.epochs * batches
    warm_up = max(1, math.ceil(WARM_UP * steps))

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


class RunningAverage(AveragedModel):
    """Exponential average that forgets faster at first, so that it never lags by an epoch.

    AveragedModel's own update takes its count to the device and a function of it back, tensor by
    tensor; each step would wait for a GPU.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self._decay = decay

    @torch.no_grad()
    def update_parameters(self, model: torch.nn.Module) -> None:
        """Take the model's parameters and buffers in; the first time, take them over."""
        count = int(self.n_averaged)  # which is on the CPU
        keep = min(self._decay, (1 + count) / (10 + count)) if count else 0.0
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        averaged, current = zip(*(p for p in pairs if p[0].is_floating_point()), strict=True)
        torch._foreach_lerp_(averaged, current, 1 - keep)
        for old, new in pairs:
            if not old.is_floating_point():
                old.copy_(new)
        self.n_averaged += 1


def _tensors(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    return chain(model.parameters(), model.buffers())
