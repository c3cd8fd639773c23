"""Predictions and their scores on a part of a run's split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from train.data.sources import FRACTION_UNIT, Source, StoreSource
from train.data.store import PDFStore, read_store
from train.judging.calibration import read_calibration
from train.models import Model, Outputs
from train.problems.defects.kinds import hold_sets, score_kinds
from train.runs.rundir import (
    METRICS,
    RunConfig,
    load_model,
    read_config,
    read_history,
    read_leakage,
    read_rows,
)
from train.setup.distributed import World

BLOCK, CHUNK = 8192, 512  # rows in memory, and of one forward pass
CALIBRATION_BINS = 15


class Predicted(NamedTuple):
    outputs: Outputs  # n rows
    regression: torch.Tensor  # (n, 2) what the means should be, as in `Samples`


@torch.no_grad()
def predict(
    model: Model,
    source: Source,
    rows: np.ndarray,
    classes: int,
    world: World,
    check: Callable[[], object] = lambda: None,
) -> Predicted:
    """What a model says of rows (n,), on every process, each having computed a part of them.

    Nothing is padded: a process fills its rows of a zero array and the arrays are summed.

    Args:
        check: called by all processes equally often, between blocks of rows.
    """
    model.eval()
    width = classes + 2 * model.regressions
    found = torch.zeros(len(rows), width + 2, device=world.device)
    # Neighbours in the store, which are read together.
    mine = np.array_split(np.arange(len(rows)), world.size)[world.rank]
    for start in range(0, -(-len(rows) // world.size), BLOCK):
        check()
        block = mine[start : start + BLOCK]
        samples = source.samples(rows[block])
        place = torch.from_numpy(block).to(world.device)
        found[place, width:] = samples.regression
        for at, chunk in zip(place.split(CHUNK), samples.pairs.split(CHUNK), strict=True):
            found[at, :width] = model(chunk)
    columns = world.sum(found).cpu()
    return Predicted(Outputs.of(columns[:, :width], classes), columns[:, width:])


def score(logits: torch.Tensor, target: torch.Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy, top-2, precision/recall/F1 and counts per class, confusion, calibration.

    Where classes are sets of kinds, accuracy is that of the whole set, and scores of each kind are
    there as well, `per_kind`.

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
    of_kinds = {"per_kind": score_kinds(probability, target, classes)} if hold_sets(classes) else {}
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
        **of_kinds,
    }


def score_estimates(predicted: Predicted, target: torch.Tensor, classes: Sequence[str]) -> dict:
    """How near fraction and atomic number of the defects come, and how often within how much.

    `fraction` is that of the host's atoms, `contrast` ln of the ratio of the atomic numbers of
    impurity and host, where there is an impurity. Each has the mean absolute error, by class as
    well, and which part of the rows lies within one and two of the standard deviations given,
    of which a normal distribution has 68 and 95 %.
    """
    outputs, truth = predicted
    if not outputs.mean.shape[1]:
        return {}
    error = (outputs.mean - truth).double().numpy()
    deviation = outputs.log_deviation.double().exp().numpy()
    foreign = (truth[:, 1] != 0).numpy()
    names = np.array(classes)[target.numpy()]
    scores = {}
    units = (("fraction", FRACTION_UNIT, np.ones_like(foreign)), ("contrast", 1.0, foreign))
    for column, (name, unit, rows) in enumerate(units):
        if rows.any():  # not where no kind of defect has impurities
            of = rows, column
            scores[name] = score_errors(unit * error[of], unit * deviation[of], names[rows])
    return scores


def score_errors(error: np.ndarray, deviation: np.ndarray, names: np.ndarray) -> dict[str, Any]:
    """Mean absolute error, by class as well, and which part is within one and two deviations.

    Args:
        error: (n,) of estimates, whose standard deviations (n,) were given with them.
        names: (n,) class of each.
    """
    size = np.abs(error)
    return {
        "mae": float(size.mean()),
        "mae_per_class": {
            str(name): float(size[names == name].mean()) for name in np.unique(names)
        },
        "within_one_deviation": float(np.mean(size <= deviation)),
        "within_two_deviations": float(np.mean(size <= 2 * deviation)),
    }


@dataclass(frozen=True)
class Predictions:
    """What a run's model says of a part of its split, calibrated."""

    store: PDFStore
    config: RunConfig
    rows: np.ndarray  # (n,) positions in store.rows
    predicted: Predicted
    target: torch.Tensor  # (n,)
    leakage: dict[str, Any] | None
    """What the part shares with training; None for the training part."""
    caveats: tuple[str, ...]
    """Why the scores are not those of the finished run."""

    @property
    def logits(self) -> torch.Tensor:
        """(n, classes)"""
        return self.predicted.outputs.logits

    def score(self) -> dict[str, Any]:
        scores = score_all(self.predicted, self.target, self.config.classes)
        return scores | ({"leakage": self.leakage} if self.leakage else {})


def score_all(predicted: Predicted, target: torch.Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """The scores of the classes, and of the estimates where the network makes them."""
    scores = score(predicted.outputs.logits, target, classes)
    return scores | score_estimates(predicted, target, classes)


def predict_part(run: Path, store_path: Path | str, part: str) -> Predictions:
    """Apply a run's model to a part of the split that was made when it was trained."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = read_config(run)
    store = read_store(store_path, config.recipe.pristine)
    rows = read_rows(run, part, store)
    model, _ = load_model(run, device)
    # All files are read, and refused, before what takes time.
    calibration = read_calibration(run, model.regressions)
    leakage = read_leakage(run).get(part)
    caveats = tuple(_caveats(run, config, store))
    source = StoreSource(store, config.inputs, device, resident=False)
    found = predict(model, source, rows, len(config.classes), World(0, 1, device))
    calibrated = found._replace(outputs=calibration.apply(found.outputs))
    target = torch.from_numpy(store.target[rows])
    return Predictions(store, config, rows, calibrated, target, leakage, caveats)


def _caveats(run: Path, config: RunConfig, store: PDFStore) -> Iterator[str]:
    if not (run / METRICS).exists():
        done, epochs = len(read_history(run)), config.recipe.epochs
        yield f"{run} is not finished, {done} of {epochs} epochs: its probabilities are raw"
    if config.input_hash != store.attributes.get("input_hash"):
        yield (
            f"{store.path} has the hosts of {config.store}, on which {run} was trained, but other "
            "settings"
        )


@torch.no_grad()
def class_probabilities(run: Path, pristine: np.ndarray, defective: np.ndarray) -> np.ndarray:
    """(n, classes) probabilities for a few G(r) in 1/A^2 on the run's r grid, (n, R) or (R,)."""
    model, config = load_model(run)
    pristine, defective = np.broadcast_arrays(np.atleast_2d(pristine), defective)
    if defective.shape[1] != len(config.r):
        raise ValueError(f"{run} needs G(r) on its {len(config.r)} points of r")
    traces = (torch.from_numpy(g.astype(np.float32)) for g in (pristine, defective))
    outputs = Outputs.of(model(config.inputs(*traces)), len(config.classes))
    return read_calibration(run, model.regressions).apply(outputs).logits.softmax(1).numpy()
