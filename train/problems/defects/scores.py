"""Scores of the kinds of defects, and of the estimates of how much of them there is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.judging.calibration import read_calibration
from train.judging.evaluation import Predicted
from train.judging.scores import score_calibration, score_classes, score_errors
from train.models import Outputs
from train.problems.defects.examples import FRACTION_UNIT
from train.problems.defects.kinds import hold_sets, score_kinds
from train.runs.rundir import load_model


def score(logits: torch.Tensor, target: torch.Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """As `train.judging.scores.score_classes`, calibration at the prevalence of the classes.

    Where classes are sets of kinds, accuracy is that of the whole set, and scores of each kind are
    there as well, `per_kind`.
    """
    scores = score_classes(logits, target, classes)
    probability = (logits + log_prevalence(target, len(classes))).softmax(1)
    scores["calibration"] = score_calibration(probability.cpu(), target.cpu())
    if hold_sets(classes):
        scores["per_kind"] = score_kinds(logits.softmax(1).cpu(), target.cpu(), classes)
    return scores


def log_prevalence(target: torch.Tensor, n_classes: int) -> torch.Tensor:
    """(C,) ln of how often each class is among rows (n,), -inf of one that is not.

    In training all classes weigh alike, so that probabilities are those of equally frequent ones
    and their ratios those of likelihoods. Logits with this added are of rows as frequent as these
    (M. Saerens et al., Neural Computation 14, 21, 2002, DOI 10.1162/089976602753284446).
    """
    return (torch.bincount(target, minlength=n_classes) / len(target)).log()


def score_estimates(found: Predicted, classes: Sequence[str]) -> dict[str, Any]:
    """How near fraction and atomic number of the defects come, and how often within how much.

    `fraction` is that of the host's atoms, `contrast` ln of the ratio of the atomic numbers of
    impurity and host, where there is an impurity. Each is as of `score_errors`.
    """
    outputs, truth = found.outputs, found.targets["regression"]
    if not outputs.mean.shape[1]:
        return {}
    error = (outputs.mean - truth).double().numpy()
    deviation = outputs.log_deviation.double().exp().numpy()
    foreign = (truth[:, 1] != 0).numpy()
    names = np.array(classes)[found.targets["class"].numpy()]
    scores = {}
    units = (("fraction", FRACTION_UNIT, np.ones_like(foreign)), ("contrast", 1.0, foreign))
    for column, (name, unit, rows) in enumerate(units):
        if rows.any():  # not where no kind of defect has impurities
            of = rows, column
            scores[name] = score_errors(unit * error[of], unit * deviation[of], names[rows])
    return scores


@torch.no_grad()
def class_probabilities(run: Path, pristine: np.ndarray, defective: np.ndarray) -> np.ndarray:
    """(n, classes) probabilities for a few traces as in the store, (n, R) or (R,) each."""
    model, config = load_model(run)
    problem: Any = config.problem
    pristine, defective = np.broadcast_arrays(np.atleast_2d(pristine), defective)
    if defective.shape[1] != len(problem.points):
        raise ValueError(f"{run} needs traces on its {len(problem.points)} points")
    traces = (torch.from_numpy(g.astype(np.float32)) for g in (pristine, defective))
    layout = problem.layout(model)
    outputs = Outputs.of(model(problem.inputs()(*traces)), layout)
    return read_calibration(run, layout.regressions).apply(outputs).logits.softmax(1).numpy()
