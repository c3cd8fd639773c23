"""Single kinds of defect in the answers of a run whose classes may be two of them at once.

Such a run tells sets of kinds apart as one class each (label powerset: G. Tsoumakas and I. Katakis,
Int. J. Data Warehous. Min. 3 (2007) 1, DOI 10.4018/jdwm.2007070101), so that a kind is as probable
as the sets that hold it are together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from defectgen.point_defects.settings import KINDS, kinds_named
from train.judging.scores import score_labels


def hold_sets(classes: Sequence[str]) -> bool:
    """Whether any of the classes is more than one kind."""
    return any(len(kinds_named(name)) > 1 for name in classes)


def kind_probabilities(probability: torch.Tensor, classes: Sequence[str]) -> torch.Tensor:
    """(n, 4) probability of each of `KINDS` from that of each class, (n, C)."""
    return probability @ torch.from_numpy(_membership(classes)).to(probability)


def score_kinds(
    probability: torch.Tensor, target: torch.Tensor, classes: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """How well each kind is told, whatever else is there, as of `score_labels`.

    Args:
        probability: (n, C) of the classes.
        target: (n,) class of each row.
    """
    truth = _membership(classes)[target.numpy()]
    return score_labels(kind_probabilities(probability, classes).numpy(), truth, KINDS)


def _membership(classes: Sequence[str]) -> np.ndarray:
    """(C, 4) 1 where a class holds a kind, else 0."""
    return np.array([[kind in kinds_named(name) for kind in KINDS] for name in classes], dtype=int)
