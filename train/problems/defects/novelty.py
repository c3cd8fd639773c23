"""How near training hosts are to others, as they are and after the stretch that training uses.

A crystal of the same structure type with another lattice is the same trace on another axis, but
for the widths of its peaks. Where training stretches the axis, what is new in a host is what is
left after the best stretch of any training host.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.problems.defects.augmentation import stretch_pairs
from train.problems.defects.examples import DefectExamples

_STEP = 1e-3
"""Of the stretch, on a first search; then _FINER of them to either side of the best few."""
_FINER = 10
_BEST = 8


def novelty_of(
    examples: DefectExamples, rows: np.ndarray, training: np.ndarray, stretch: float, start: float
) -> dict[str, Any]:
    """Medians by space group, and of `all`, of relative distances to the nearest training host.

    Args:
        rows: (n,) positions in `examples.rows` of a held-out part.
        training: (m,) those of the training part.
        stretch: largest relative one of the axis.
        start: first point of the axis in grid steps.
    """
    hosts = np.unique(examples.rows[rows, 0])
    own, others = (
        torch.from_numpy(examples.read(examples.trace.array, of, slice(1))[:, 0])
        for of in (hosts, np.unique(examples.rows[training, 0]))
    )
    raw, _ = _nearest(own, others)
    stretched = nearest_stretched(own, others, stretch, start)
    group = examples.space_group[hosts]
    members = {str(number): group == number for number in np.unique(group).tolist()}
    return {
        "stretch": stretch,
        "groups": {
            name: {
                "hosts": int(of.sum()),
                "nearest": float(np.median(raw[of])),
                "nearest_stretched": float(np.median(stretched[of])),
            }
            for name, of in (members | {"all": np.full(len(hosts), True)}).items()
        },
    }


def nearest_stretched(own: Tensor, others: Tensor, stretch: float, start: float) -> np.ndarray:
    """(n,) |a - b| / |a| of traces (n, R) and the nearest of others (m, R), best stretched.

    The least that a search finds, which is never below the least there is.
    """
    steps = round(stretch / _STEP)
    factors = 1 + stretch * torch.linspace(-1, 1, 2 * steps + 1)
    found = [_nearest(own, stretch_pairs(others[None], f[None], start)[0]) for f in factors]
    distance, place = (torch.tensor(np.array(of)) for of in zip(*found, strict=True))
    least, best = distance.topk(min(_BEST, len(factors)), dim=0, largest=False)
    chosen, factor = others[place.gather(0, best)], factors[best]  # (C, n, R), (C, n)
    for width in (_STEP, _STEP / _FINER):
        around = factor + width * torch.linspace(-1, 1, 2 * _FINER + 1)[:, None, None]
        around = around.clamp(1 - stretch, 1 + stretch)
        tried = torch.stack([_distance(own, _each_stretched(chosen, f, start)) for f in around])
        least, at = tried.min(0)
        factor = around.gather(0, at[None])[0]
    return least.amin(0).numpy()


def _each_stretched(traces: Tensor, factor: Tensor, start: float) -> Tensor:
    """Traces (C, n, R), each by a factor of its own (C, n)."""
    return stretch_pairs(traces.flatten(0, 1)[:, None], factor.flatten(), start).view_as(traces)


def _distance(own: Tensor, others: Tensor) -> Tensor:
    """(C, n) of traces (n, R) and others (C, n, R)."""
    return (own - others).norm(dim=2) / own.norm(dim=1)


def _nearest(own: Tensor, others: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Relative distance (n,) of the nearest of others (m, R), and its place."""
    a, b = own.double(), others.double()
    squares = b.square().sum(1) - 2 * a @ b.mT
    least, place = squares.min(1)
    size = a.square().sum(1)
    return ((least + size).clamp(min=0) / size).sqrt().numpy(), place.numpy()
