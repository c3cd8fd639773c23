"""The running average of the weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from train.fitting.optimisation import RunningAverage


def changing_models(steps: int):
    """A model with buffers of floats and integers, after each of some changes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    for _ in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(8, 3))
        yield model


def test_the_average_follows_its_formula_to_the_last_bit():
    def update(averaged, current, count):
        keep = min(0.3, (1 + int(count)) / (10 + int(count)))
        for old, new in zip(averaged, current, strict=True):
            old.lerp_(new, 1 - keep) if old.is_floating_point() else old.copy_(new)

    own = library = None
    for model in changing_models(6):
        own = own or RunningAverage(model, decay=0.3)
        library = library or AveragedModel(model, multi_avg_fn=update, use_buffers=True)
        own.update_parameters(model)
        library.update_parameters(model)
    expected = library.state_dict()
    assert own.state_dict().keys() == expected.keys()
    for name, tensor in own.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert int(own.n_averaged) == int(own.module[1].num_batches_tracked) == 6


def test_an_update_asks_the_device_for_no_number():
    """Tensors on the device "meta" have none."""
    model = nn.Linear(3, 4, device="meta")
    average = RunningAverage(model, decay=0.9)
    for _ in range(3):
        average.update_parameters(model)
    assert int(average.n_averaged) == 3
