"""The global batch norm against plain BatchNorm on the whole batch, in real gloo processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import batch_shares
import pytest
import torch
from torch import nn

from train.models.synced_norm import SyncedBatchNorm

EXACT = {"rtol": 1e-10, "atol": 1e-10}
WHOLE = slice(None)


@pytest.fixture(scope="module", params=[(5, 2), (4, 2, 1)], ids=["two", "three"])
def processes(request, tmp_path_factory) -> list[dict]:
    """What each of several processes got from its share of a batch."""
    folder = tmp_path_factory.mktemp("shares")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={len(request.param)}", batch_shares.__file__, str(folder)]
    root = str(Path(__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    command += [str(rows) for rows in request.param]
    out = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert out.returncode == 0, out.stderr
    return [torch.load(folder / f"{rank}.pt") for rank in range(len(request.param))]


@pytest.mark.slow
def test_outputs_gradients_and_running_statistics_are_those_of_the_whole_batch(processes):
    plain = nn.BatchNorm2d(batch_shares.CHANNELS)
    whole = batch_shares.normalise(plain, WHOLE)
    for name in ("output", "input_gradient"):
        shares = torch.cat([process["norm"][name] for process in processes])
        torch.testing.assert_close(shares, whole[name], **EXACT)
    for name in ("weight_gradient", "bias_gradient"):
        total = sum(process["norm"][name] for process in processes)
        torch.testing.assert_close(total, whole[name], **EXACT)
    for process in processes:
        assert set(process["norm_buffers"]) == set(dict(plain.named_buffers()))
        for name, buffer in plain.named_buffers():
            torch.testing.assert_close(process["norm_buffers"][name], buffer, **EXACT)


@pytest.mark.slow
def test_the_reference_network_trains_as_on_one_process(processes):
    gradients, model = batch_shares.train_reference(WHOLE, processes=1)
    assert sum(isinstance(module, SyncedBatchNorm) for module in model.modules()) == 8
    for process in processes:
        for name, gradient in gradients.items():
            torch.testing.assert_close(process["gradients"][name], gradient, **EXACT)
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(process["buffers"][name], buffer, **EXACT)


def test_alone_and_in_evaluation_it_is_plain_batch_norm():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 1, 6)
    plain, synced = nn.BatchNorm2d(3), SyncedBatchNorm(3)
    assert torch.equal(synced(x), plain(x))
    assert torch.equal(synced.eval()(x), plain.eval()(x))
