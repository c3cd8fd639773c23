"""Predictions and their scores on a part of a run's split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.data import PDFStore, read_store, scale_pairs
from train.distributed import World
from train.rundir import RunConfig, load_model, read_leakage, read_rows
from train.sources import StoreSource

BLOCK, CHUNK = 8192, 512  # rows in memory, and of one forward pass
CALIBRATION_BINS = 15


@torch.no_grad()
def predict_logits(
    model: torch.nn.Module,
    source: StoreSource,
    rows: np.ndarray,
    world: World,
    check: Callable[[], object] = lambda: None,
) -> torch.Tensor:
    """(n, classes) logits of rows on every process, each having computed a part of them.

    Nothing is padded: a process fills its rows of a zero array and the arrays are summed.

    Args:
        check: called by all processes equally often, between blocks of rows.
    """
    model.eval()
    classes = len(source.store.classes)
    logits = torch.zeros(len(rows), classes, device=world.device)
    # Neighbours in the store, which are read together.
    mine = np.array_split(np.arange(len(rows)), world.size)[world.rank]
    for start in range(0, -(-len(rows) // world.size), BLOCK):
        check()
        block = mine[start : start + BLOCK]
        pairs = source.samples(rows[block]).pairs
        place = torch.from_numpy(block).to(world.device)
        for at, chunk in zip(place.split(CHUNK), pairs.split(CHUNK), strict=True):
            logits[at] = model(chunk)[:, :classes]
    return world.sum(logits)


def score(logits: torch.Tensor, target: torch.Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy, top-2, precision/recall/F1 and counts per class, confusion, calibration.

    `confusion[i][j]` counts rows of true class i predicted as j. Calibration is the expected
    calibration error over 15 equal bins of confidence (Guo et al., ICML 2017).
    """
    from sklearn.metrics import (
        confusion_matrix,
        precision_recall_fscore_support,
        top_k_accuracy_score,
    )
    from torchmetrics.functional.classification import multiclass_calibration_error

    probability, target = logits.softmax(1).cpu(), target.cpu()
    predicted, labels = probability.argmax(1), range(len(classes))
    columns = precision_recall_fscore_support(target, predicted, labels=labels, zero_division=0)
    ece = multiclass_calibration_error(probability, target, len(classes), CALIBRATION_BINS)
    return {
        "accuracy": float((predicted == target).float().mean()),
        "top2": float(top_k_accuracy_score(target, probability, k=2, labels=labels)),
        "n": len(target),
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
            for name, p, r, f, n in zip(classes, *columns, strict=True)
        },
        "confusion": confusion_matrix(target, predicted, labels=labels).tolist(),
        "calibration": {
            "ece": float(ece),
            "bins": CALIBRATION_BINS,
            "mean_confidence": float(probability.amax(1).mean()),
        },
    }


@dataclass(frozen=True)
class Predictions:
    """What a run's model says of a part of its split."""

    store: PDFStore
    config: RunConfig
    rows: np.ndarray  # (n,) positions in store.rows
    logits: torch.Tensor  # (n, classes)
    target: torch.Tensor  # (n,)
    leakage: dict[str, Any] | None
    """What the part shares with training; None for the training part."""

    def score(self) -> dict[str, Any]:
        scores = score(self.logits, self.target, self.config.classes)
        return scores | ({"leakage": self.leakage} if self.leakage else {})


def predict_part(run: Path, store_path: Path | str, part: str) -> Predictions:
    """Apply a run's model to a part of the split that was made when it was trained."""
    store = read_store(store_path)
    rows = read_rows(run, part, store)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, config = load_model(run, device)
    source = StoreSource(store, config.recipe.scaling, device, resident=False)
    logits = predict_logits(model, source, rows, World(0, 1, device))
    target = torch.from_numpy(store.target[rows])
    leakage = read_leakage(run).get(part)
    return Predictions(store, config, rows, logits.cpu(), target, leakage)


def class_probabilities(run: Path, pristine: np.ndarray, defective: np.ndarray) -> np.ndarray:
    """(n, classes) probabilities for a few G(r) in 1/A^2 on the run's r grid, (n, R) or (R,)."""
    model, config = load_model(run)
    pristine, defective = np.broadcast_arrays(np.atleast_2d(pristine), defective)
    if defective.shape[1] != len(config.r):
        raise ValueError(f"{run} needs G(r) on its {len(config.r)} points of r")
    pairs = scale_pairs(
        torch.from_numpy(pristine.astype(np.float32)),
        torch.from_numpy(defective.astype(np.float32)),
        config.recipe.scaling,
    )
    with torch.no_grad():
        logits = model(pairs)[:, : len(config.classes)]
    return logits.softmax(1).numpy()
