from __future__ import annotations

import numpy as np
import pytest
import torch

from train.problems.defects.novelty import nearest_stretched, novelty_of

R = np.linspace(1.5, 30, 300)
START = R[0] / (R[1] - R[0])


def traces(*lengths: float) -> torch.Tensor:
    """(n, R) shells of a cubic crystal of each length, A."""
    shells = np.sqrt(np.arange(1, 200))
    return torch.tensor(
        np.array([np.exp(-(((R[:, None] - a * shells) / 0.3) ** 2)).sum(1) - 0.1 for a in lengths])
    ).float()


def test_a_lattice_in_reach_of_the_stretch_is_nothing_new():
    near, far = nearest_stretched(traces(3.0 * 1.0437, 3.0 * 1.2), traces(3.0, 4.1), 0.08, START)
    assert near < 0.1  # peaks are as much wider, and the end of the trace is repeated
    assert far > 2 * near
    narrow = nearest_stretched(traces(3.0 * 1.0437), traces(3.0, 4.1), 0.02, START)
    assert narrow > 2 * near


def test_a_training_host_itself_is_found_without_a_stretch():
    found = nearest_stretched(traces(3.3), traces(2.9, 3.3), 0.05, START)
    assert found == pytest.approx(0, abs=2e-3)  # of interpolation


def test_medians_are_by_space_group(store_path):
    from train.data.splits import split_rows
    from train.data.store import Dataset
    from train.problems.defects.examples import read_examples

    examples = read_examples(Dataset.open(store_path))
    rows = split_rows(examples, "host", 0)
    found = novelty_of(examples, rows["test"], rows["train"], 0.08, START)
    groups = found["groups"]
    assert list(groups) == ["225", "229", "all"]
    assert groups["all"]["hosts"] == groups["225"]["hosts"] + groups["229"]["hosts"]
    assert 0 < groups["all"]["nearest_stretched"] < groups["all"]["nearest"]
