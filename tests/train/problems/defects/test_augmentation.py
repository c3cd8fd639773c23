from __future__ import annotations

import torch

from train.problems.defects.augmentation import stretch_pairs


def test_stretch_moves_a_peak_to_a_longer_distance():
    r = torch.linspace(1.5, 30, 300)
    start = 1.5 / float(r[1] - r[0])
    pair = torch.exp(-((r - 10) ** 2) / 0.5).repeat(1, 2, 1)
    stretched = stretch_pairs(pair, torch.tensor([1.04]), start)
    expected = torch.exp(-((r / 1.04 - 10) ** 2) / 0.5).repeat(1, 2, 1)
    torch.testing.assert_close(stretched, expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(stretch_pairs(pair, torch.ones(1), start), pair, atol=1e-4, rtol=0)
