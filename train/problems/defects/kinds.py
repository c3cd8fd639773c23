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

LIKELY = 0.5
"""Probability above which a kind is said to be there."""


def hold_sets(classes: Sequence[str]) -> bool:
    """Whether any of the classes is more than one kind."""
    return any(len(kinds_named(name)) > 1 for name in classes)


def kind_probabilities(probability: torch.Tensor, classes: Sequence[str]) -> torch.Tensor:
    """(n, 4) probability of each of `KINDS` from that of each class, (n, C)."""
    return probability @ torch.from_numpy(_membership(classes)).to(probability)


def score_kinds(
    probability: torch.Tensor, target: torch.Tensor, classes: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """How well each kind is told, whatever else is there, by kind.

    `prevalence` is the part of the rows that hold it; precision, recall and F1 are those of a
    probability above LIKELY; `auroc` is None where all rows hold it, or none.

    Args:
        probability: (n, C) of the classes.
        target: (n,) class of each row.
    """
    from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

    truth = _membership(classes)[target.numpy()]
    found = kind_probabilities(probability, classes).numpy()
    rates = precision_recall_fscore_support(truth, found > LIKELY, average=None, zero_division=0)
    scores = {}
    for k, kind in enumerate(KINDS):
        precision, recall, f1, n = (float(column[k]) for column in rates)
        can_be_ranked = 0 < n < len(truth)
        scores[kind] = {
            "prevalence": n / len(truth),
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "auroc": float(roc_auc_score(truth[:, k], found[:, k])) if can_be_ranked else None,
        }
    return scores


def _membership(classes: Sequence[str]) -> np.ndarray:
    """(C, 4) 1 where a class holds a kind, else 0."""
    return np.array([[kind in kinds_named(name) for kind in KINDS] for name in classes], dtype=int)
