"""Pairs of traces as crystals of other sizes would have them."""

from __future__ import annotations

import torch


def stretch_pairs(pairs: torch.Tensor, factor: torch.Tensor, start: float) -> torch.Tensor:
    """Pairs (B, 2, R) with r stretched by a factor (B,): f(r) becomes f(r / factor).

    That is the pair of a crystal with a larger or smaller lattice, but for peak widths and
    resolution. `start` is the first r in grid steps; the grid is taken as even, interpolation is
    cubic (Catmull-Rom) and what lies outside the grid repeats its end. In place of
    two, any number of traces may share a factor.
    """
    points = pairs.shape[-1]
    grid = torch.arange(points, device=pairs.device) + start
    position = (grid / factor[:, None] - start).clamp(1, points - 3)
    index = position.floor().long()
    t = (position - index)[:, None]

    def at(offset: int) -> torch.Tensor:
        return pairs.gather(2, (index + offset)[:, None].expand(-1, pairs.shape[1], -1))

    before, here, after, beyond = at(-1), at(0), at(1), at(2)
    curve = 2 * before - 5 * here + 4 * after - beyond + t * (3 * (here - after) + beyond - before)
    return here + 0.5 * t * (after - before + t * curve)
