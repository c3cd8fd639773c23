"""scikit-learn's classifiers on pairs of traces, with the splits and the scaling of the networks.

What they see of a scaled pair is the pristine trace, the change at unit norm and ln of its norm,
each column standardised on the training rows: with the bare change, whose size varies by three
orders of magnitude with the defect and its concentration, all that were tried did worse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from train.data.splits import PARTS
from train.data.store import Dataset
from train.judging.baselines import score_methods

if TYPE_CHECKING:
    from train.problems.defects.task import DefectTask


def score_baselines(
    problem: DefectTask, data: Dataset, split: str | None, seed: int
) -> dict[str, Any]:
    """Scores of each method of `train.judging.baselines` on the test part, and its leakage."""
    examples = problem.examples(data)
    split = split or next(iter(examples.splits))
    parts = problem.split(examples, split, seed)
    source = problem.stored(examples, seed, torch.device("cpu"))
    columns = {name: pair_columns(source.samples(parts.rows[name]).inputs) for name in PARTS}
    target = {name: examples.target[parts.rows[name]] for name in PARTS}
    chosen = {"split": split, "scaling": problem.recipe.scaling, "seed": seed}
    return chosen | {
        "fingerprint": examples.fingerprint,
        "title": examples.title,
        "leakage": parts.leakage["test"],
        "methods": score_methods(columns, target, problem.classes, seed),
    }


def pair_columns(pairs: torch.Tensor) -> np.ndarray:
    """(n, 2 R + 1) pristine, change at unit norm and ln of its norm, of scaled pairs (n, 2, R)."""
    pristine, change = pairs[:, 0], pairs[:, 1] - pairs[:, 0]
    size = change.norm(dim=1, keepdim=True).clamp(min=torch.finfo(pairs.dtype).tiny)
    return torch.cat([pristine, change / size, size.log()], dim=1).numpy()
