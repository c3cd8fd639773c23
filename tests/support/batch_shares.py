"""A training pass on shares of one batch, alone or as a process of torchrun, in double precision.

    torchrun --nproc-per-node=3 batch_shares.py FOLDER 4 2 1

leaves in FOLDER what each process got from its share of 4, 2 and 1 rows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from train.models import build_model
from train.models.synced_norm import SyncedBatchNorm

ROWS, CLASSES, POINTS = 7, 4, 24
CHANNELS = 3


def normalise(norm: nn.BatchNorm2d, share: slice) -> dict[str, torch.Tensor]:
    """Two batches through a norm: outputs and gradients of a loss that is a sum over rows."""
    random = torch.Generator().manual_seed(0)
    norm.double()
    for _ in range(2):
        batch = 100 + torch.randn(ROWS, CHANNELS, 2, 5, dtype=torch.double, generator=random)
        inputs = batch[share].requires_grad_()
        output = norm(inputs)
        weight = torch.randn(ROWS, CHANNELS, 2, 5, dtype=torch.double, generator=random)
        (output * weight[share]).sum().backward()
    return {"output": output.detach(), "input_gradient": inputs.grad} | {
        f"{name}_gradient": parameter.grad for name, parameter in norm.named_parameters()
    }


def train_reference(share: slice, processes: int) -> tuple[dict[str, torch.Tensor], nn.Module]:
    """The reference network's gradients of a batch's mean loss, and the network."""
    torch.manual_seed(0)
    model = build_model("reference", range(POINTS), CLASSES, dropout=0.0).double()
    pairs = torch.rand(ROWS, 2, POINTS, dtype=torch.double)
    target = torch.arange(ROWS) % CLASSES
    parallel = nn.parallel.DistributedDataParallel(model) if processes > 1 else model
    loss = F.cross_entropy(parallel(pairs[share]), target[share], reduction="sum") / ROWS
    (loss * processes).backward()  # DistributedDataParallel takes the mean over processes
    return {name: parameter.grad for name, parameter in model.named_parameters()}, model


def main(folder: Path, shares: list[int]) -> None:
    dist.init_process_group("gloo")
    rank, processes = dist.get_rank(), dist.get_world_size()
    share = slice(sum(shares[:rank]), sum(shares[: rank + 1]))
    norm = SyncedBatchNorm(CHANNELS)
    result = {"norm": normalise(norm, share), "norm_buffers": dict(norm.named_buffers())}
    result["gradients"], model = train_reference(share, processes)
    result["buffers"] = dict(model.named_buffers())
    torch.save(result, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(rows) for rows in sys.argv[2:]])
