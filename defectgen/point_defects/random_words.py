"""Random numbers of many rows at once, each row's from a seed of its own.

They are the words of a counter-based generator (splitmix64: Steele, Lea and Flood, OOPSLA 2014,
DOI 10.1145/2660193.2660195), so that any of them is made without those before it, on any device.
"""

from __future__ import annotations

import torch
from torch import Tensor

_INCREMENT, _FIRST, _SECOND = (
    word - (1 << 64) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def random_words(seeds: Tensor, counters: Tensor) -> Tensor:
    """Random 63-bit words of seeds at counters, int64 tensors that are broadcast together."""
    word = seeds + (counters + 1) * _INCREMENT
    # Shifts of int64 repeat the sign bit, which the masks take away.
    word = (word ^ ((word >> 30) & ((1 << 34) - 1))) * _FIRST
    word = (word ^ ((word >> 27) & ((1 << 37) - 1))) * _SECOND
    return (word ^ ((word >> 31) & ((1 << 33) - 1))) & ((1 << 63) - 1)


def uniform(seeds: Tensor, counters: Tensor) -> Tensor:
    """Random float64 numbers in [0, 1) of seeds at counters, as `random_words`."""
    return (random_words(seeds, counters) >> 10).double() / (1 << 53)


def normal(seeds: Tensor, size: int) -> Tensor:
    """(B, size) random float32 numbers of a normal distribution, mean 0 and deviation 1.

    By G. E. P. Box and M. E. Muller, Ann. Math. Stat. 29 (1958) 610, DOI 10.1214/aoms/1177706645.

    Args:
        seeds: (B,)
    """
    n_pairs = -(-size // 2)
    first, second = uniform(seeds[:, None], torch.arange(2 * n_pairs, device=seeds.device)).split(
        n_pairs, dim=1
    )
    radius, angle = (-2 * torch.log1p(-first)).sqrt(), 2 * torch.pi * second
    both = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
    return both[:, :size].float()
