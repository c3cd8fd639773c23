"""The random words are those of splitmix64, in torch and in compiled loops."""

import numpy as np
import pytest
import torch

from defectgen.point_defects.random_words import random_word, random_words


@pytest.mark.parametrize(
    ("seed", "published"),
    [
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]),
        (1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423]),
    ],
)
def test_words_are_those_that_other_programs_make(seed, published):
    """S. Vigna's, https://prng.di.unimi.it/splitmix64.c, but for their first bit."""
    words = random_words(torch.tensor(seed), torch.arange(len(published)))
    assert words.tolist() == [word & (2**63 - 1) for word in published]


def test_a_compiled_loop_makes_the_words_that_torch_makes():
    rng = np.random.default_rng(0)
    seeds = rng.integers(-(2**63), 2**63 - 1, 200)
    seeds[:3] = -(2**63), -1, 2**63 - 1
    counters = np.concatenate([rng.integers(0, 10**6, 196), [-128, -64, -1, 0]])
    words = random_words(torch.from_numpy(seeds), torch.from_numpy(counters))
    alone = [random_word(*row) for row in zip(seeds.view(np.uint64), counters, strict=True)]
    assert [int(word) for word in alone] == words.tolist()
