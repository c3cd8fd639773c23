"""Random numbers of many rows at once, each row's from a seed of its own.

They are the words of a counter-based generator (splitmix64: Steele, Lea and Flood, OOPSLA 2014,
DOI 10.1145/2660193.2660195), so that any of them is made without those before it, on any device:
with seed s, word n is x after

    x = s + (n + 1) INCREMENT
    x = (x ^ (x >> 30)) FIRST
    x = (x ^ (x >> 27)) SECOND
    x = x ^ (x >> 31)

modulo 2^64, of which the highest bit is dropped, so that the words are the same as int64.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from pdfcalc.kernels import compiled

_INCREMENT = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_SHIFTS = (30, 27, 31)
_KEPT = (1 << 63) - 1
_AS_INT64 = [factor - (1 << 64) for factor in (_INCREMENT, _FIRST, _SECOND)]


def random_words(seeds: Tensor, counters: Tensor) -> Tensor:
    """Random 63-bit words of seeds at counters, int64 tensors that are broadcast together."""
    increment, first, second = _AS_INT64
    word = seeds + (counters + 1) * increment
    word = (word ^ _shifted(word, _SHIFTS[0])) * first
    word = (word ^ _shifted(word, _SHIFTS[1])) * second
    return (word ^ _shifted(word, _SHIFTS[2])) & _KEPT


def _shifted(word: Tensor, bits: int) -> Tensor:
    # Shifts of int64 repeat the sign bit, which the mask takes away.
    return (word >> bits) & ((1 << (64 - bits)) - 1)


@compiled
def random_word(seed, counter):
    """The word of `random_words` of one uint64 seed at one counter, for compiled loops."""
    word = seed + np.uint64(counter + 1) * np.uint64(_INCREMENT)
    word = (word ^ (word >> np.uint64(_SHIFTS[0]))) * np.uint64(_FIRST)
    word = (word ^ (word >> np.uint64(_SHIFTS[1]))) * np.uint64(_SECOND)
    return (word ^ (word >> np.uint64(_SHIFTS[2]))) & np.uint64(_KEPT)


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


def text_word(text: str) -> int:
    """A number below 2^63 that depends on a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
