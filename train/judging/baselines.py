"""scikit-learn's classifiers on a store's splits, with the scores of the networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from train.judging.scores import score_classes


def gradient_boosting(seed: int) -> ClassifierMixin:
    """On histograms (Ke et al., NeurIPS 2017)."""
    return HistGradientBoostingClassifier(max_iter=300, early_stopping=False, random_state=seed)


METHODS: dict[str, Callable[[int], ClassifierMixin]] = {
    "naive Bayes": lambda seed: GaussianNB(),
    "k nearest neighbours": lambda seed: KNeighborsClassifier(10, weights="distance"),
    "logistic regression": lambda seed: LogisticRegression(max_iter=1000),
    "support vector machine": lambda seed: SVC(C=10.0),
    "random forest": lambda seed: RandomForestClassifier(200, random_state=seed),
    "gradient boosting": gradient_boosting,
    "multilayer perceptron": lambda seed: MLPClassifier(
        (256, 128), max_iter=200, early_stopping=True, random_state=seed
    ),
}
"""By name; made from a seed. Kernel of the support vector machine: radial basis functions."""
_LEAST_DEVIATION = 1e-12  # of a column, over the largest
LEAST_PROBABILITY = 1e-12  # in place of 0, whose logarithm is not finite


def score_methods(
    methods: Mapping[str, Callable[[int], ClassifierMixin]],
    columns: Mapping[str, np.ndarray],
    target: Mapping[str, np.ndarray],
    classes: Sequence[str],
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Scores of methods, as METHODS are, on the test part, as of `scores.score_classes`.

    The validation part is used for one thing only: the support vector machine has no
    probabilities, so a sigmoid of its decisions is fitted there (Platt, 1999).

    Args:
        columns: by part, (n, k), which are standardised on the training part.
        target: by part, (n,) class of each row.
    """
    scaled = _standardised(columns)
    found = {}
    for name, make in methods.items():
        began = time.perf_counter()
        model = make(seed).fit(scaled["train"], target["train"])
        if not hasattr(model, "predict_proba"):
            model = CalibratedClassifierCV(FrozenEstimator(model))
            model.fit(scaled["val"], target["val"])
        logits = log_probabilities(model, scaled["test"], len(classes))
        scores = score_classes(logits, torch.from_numpy(target["test"]), classes)
        found[name] = scores | {"seconds": round(time.perf_counter() - began, 2)}
    return found


def log_probabilities(model: Any, columns: np.ndarray, n_classes: int) -> torch.Tensor:
    """(n, n_classes); classes that the model was not shown are given the least probability."""
    probability = np.full((len(columns), n_classes), LEAST_PROBABILITY)
    probability[:, model.classes_] = model.predict_proba(columns)
    return torch.from_numpy(probability).clamp(min=LEAST_PROBABILITY).log().float()


def _standardised(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns (n, k) of each part by mean and deviation in the training part.

    What hardly varies there, as far from all lines of a pattern, is left as small as it is.
    """
    scaler = StandardScaler().fit(columns["train"])
    least = _LEAST_DEVIATION * np.sqrt(scaler.var_.max())
    scaler.scale_ = np.where(np.sqrt(scaler.var_) > least, scaler.scale_, max(least, 1.0))
    return {part: scaler.transform(values) for part, values in columns.items()}
