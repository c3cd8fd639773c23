"""What a model says of rows, by all processes together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from train.data.examples import Examples
from train.data.sources import Batch, Source
from train.models import Layout, Outputs
from train.setup.distributed import World

BLOCK, CHUNK = 8192, 512  # rows in memory, and of one forward pass


class Predicted(NamedTuple):
    """Of n rows."""

    outputs: Outputs
    targets: dict[str, Tensor]
    """What is so, by name as in `Examples.targets`."""


@dataclass(frozen=True)
class Judged:
    """What a model says of some rows of a store, calibrated."""

    examples: Examples
    rows: np.ndarray  # (n,) positions in examples.rows
    predicted: Predicted


class Answering(Protocol):
    """What of a problem `predict` has to know: see `train.problems.Problem`."""

    def layout(self, model: nn.Module) -> Layout: ...

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor: ...


@torch.no_grad()
def predict(
    model: nn.Module,
    problem: Answering,
    source: Source,
    rows: np.ndarray,
    world: World,
    check: Callable[[], object] = lambda: None,
) -> Predicted:
    """What a model says of rows (n,), on every process, each having computed a part of them.

    Nothing is padded: a process fills its rows of a zero array and the arrays are summed.

    Args:
        check: called by all processes equally often, between blocks of rows.
    """
    model.eval()
    layout, columns = problem.layout(model), _Columns(source.examples.targets)
    found = torch.zeros(len(rows), sum(layout.sizes), device=world.device)
    truth = torch.zeros(len(rows), columns.width, dtype=torch.double, device=world.device)
    # Neighbours in the store, which are read together.
    mine = np.array_split(np.arange(len(rows)), world.size)[world.rank]
    for start in range(0, -(-len(rows) // world.size), BLOCK):
        check()
        block = mine[start : start + BLOCK]
        if not len(block):
            continue
        samples = source.samples(rows[block])
        place = torch.from_numpy(block).to(world.device)
        if columns.width:
            truth[place] = columns.joined(samples.targets, len(block))
        for first in range(0, len(block), CHUNK):
            of = slice(first, first + CHUNK)
            chunk = Batch(samples.inputs[of], {name: t[of] for name, t in samples.targets.items()})
            found[place[of]] = problem.answers(model(chunk.inputs), chunk)
    return Predicted(
        Outputs.of(world.sum(found).cpu(), layout), columns.parted(world.sum(truth).cpu())
    )


class _Columns:
    """Targets side by side, as numbers of double precision, which hold any of them."""

    def __init__(self, targets: Mapping[str, np.ndarray]) -> None:
        self._kinds = {
            name: (values.shape[1:], torch.from_numpy(values[:0]).dtype)
            for name, values in targets.items()
        }
        self._widths = [int(np.prod(shape)) for shape, _ in self._kinds.values()]
        self.width = sum(self._widths)

    def joined(self, targets: Mapping[str, Tensor], n: int) -> Tensor:
        """(n, width); there are some."""
        columns = [targets[name].reshape(n, -1).double() for name in self._kinds]
        return torch.cat(columns, dim=1)

    def parted(self, columns: Tensor) -> dict[str, Tensor]:
        parts = columns.split(self._widths, dim=1)
        return {
            name: part.reshape(len(part), *shape).to(dtype)
            for (name, (shape, dtype)), part in zip(self._kinds.items(), parts, strict=True)
        }
