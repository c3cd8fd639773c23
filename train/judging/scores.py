"""Scores of classes, of labels and of numbers, whatever they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

CALIBRATION_BINS = 15
LIKELY = 0.5
"""Probability above which a label is said to be there."""


def score_classes(
    logits: torch.Tensor, target: torch.Tensor, classes: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, top-2, precision/recall/F1 and counts per class, confusion, calibration.

    `confusion[i][j]` counts rows of true class i predicted as j. Calibration is as of
    `score_calibration`.

    Args:
        logits: (n, C).
        target: (n,) class of each row.
    """
    from sklearn.metrics import (
        confusion_matrix,
        precision_recall_fscore_support,
        top_k_accuracy_score,
    )

    probability, target = logits.softmax(1).cpu(), target.cpu()
    predicted, labels = probability.argmax(1), range(len(classes))
    columns = precision_recall_fscore_support(target, predicted, labels=labels, zero_division=0)
    return {
        "accuracy": float((predicted == target).float().mean()),
        "top2": float(top_k_accuracy_score(target, probability, k=2, labels=labels)),
        "n": len(target),
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
            for name, p, r, f, n in zip(classes, *columns, strict=True)
        },
        "confusion": confusion_matrix(target, predicted, labels=labels).tolist(),
        "calibration": score_calibration(probability, target),
    }


def score_calibration(probability: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """Expected calibration error over equal bins of confidence (Guo et al., ICML 2017).

    Args:
        probability: (n, C).
        target: (n,) class of each row.
    """
    from torchmetrics.functional.classification import multiclass_calibration_error

    classes = probability.shape[1]
    ece = multiclass_calibration_error(probability, target, classes, CALIBRATION_BINS)
    return {
        "ece": float(ece),
        "bins": CALIBRATION_BINS,
        "mean_confidence": float(probability.amax(1).mean()),
    }


def score_labels(
    probability: np.ndarray, truth: np.ndarray, names: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """How well each label is told, whatever else is there, by name.

    `prevalence` is the part of the rows that have it; precision, recall and F1 are those of a
    probability above LIKELY; `auroc` is None where all rows have it, or none.

    Args:
        probability: (n, L).
        truth: (n, L) 0 or 1.
    """
    from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

    rates = precision_recall_fscore_support(
        truth, probability > LIKELY, average=None, zero_division=0
    )
    scores = {}
    for k, name in enumerate(names):
        precision, recall, f1, n = (float(column[k]) for column in rates)
        can_be_ranked = 0 < n < len(truth)
        scores[name] = {
            "prevalence": n / len(truth),
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "auroc": float(roc_auc_score(truth[:, k], probability[:, k]))
            if can_be_ranked
            else None,
        }
    return scores


def score_errors(
    error: np.ndarray, deviation: np.ndarray, names: np.ndarray | None = None
) -> dict[str, Any]:
    """Mean absolute error, by class as well, and which part is within one and two deviations.

    Of errors that a normal distribution describes that is 68 and 95 %.

    Args:
        error: (n,) of estimates, whose standard deviations (n,) were given with them.
        names: (n,) class of each, where there are classes.
    """
    size = np.abs(error)
    by_class = {}
    if names is not None:
        each = {str(name): float(size[names == name].mean()) for name in np.unique(names)}
        by_class = {"mae_per_class": each}
    return {
        "mae": float(size.mean()),
        **by_class,
        "within_one_deviation": float(np.mean(size <= deviation)),
        "within_two_deviations": float(np.mean(size <= 2 * deviation)),
    }
