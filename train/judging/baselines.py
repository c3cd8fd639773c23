"""scikit-learn's classifiers on a store's splits, with the scaling and the scores of the networks.

What they see of a scaled pair is the pristine trace, the change at unit norm and ln of its norm,
each column standardised on the training rows: with the bare change, whose size varies by three
orders of magnitude with the defect and its concentration, all that were tried did worse.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
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

from train.data.leakage import make_split
from train.data.sources import StoreSource
from train.data.splits import PARTS
from train.data.store import read_store
from train.judging.evaluation import score
from train.problems.defects.inputs import PairInput, Scaling

METHODS: dict[str, Callable[[int], ClassifierMixin]] = {
    "naive Bayes": lambda seed: GaussianNB(),
    "k nearest neighbours": lambda seed: KNeighborsClassifier(10, weights="distance"),
    "logistic regression": lambda seed: LogisticRegression(max_iter=1000),
    "support vector machine": lambda seed: SVC(C=10.0),
    "random forest": lambda seed: RandomForestClassifier(200, random_state=seed),
    "gradient boosting": lambda seed: HistGradientBoostingClassifier(
        max_iter=300, early_stopping=False, random_state=seed
    ),
    "multilayer perceptron": lambda seed: MLPClassifier(
        (256, 128), max_iter=200, early_stopping=True, random_state=seed
    ),
}
"""By name; made from a seed. Kernel of the support vector machine: radial basis functions."""
LEAST_PROBABILITY = 1e-12  # in place of 0, whose logarithm is not finite


def score_baselines(
    store_path: Path | str, split: str, scaling: Scaling, seed: int
) -> dict[str, Any]:
    """Scores of each method of METHODS on the test part, as `evaluation.score` has them.

    The validation part is used for one thing only: the support vector machine has no
    probabilities, so a sigmoid of its decisions is fitted there (Platt, 1999).
    """
    store = read_store(store_path)
    parts = make_split(store, split, seed)
    source = StoreSource(store, PairInput(scaling), torch.device("cpu"), resident=False)
    raw = {name: pair_columns(source.samples(parts.rows[name]).pairs) for name in PARTS}
    scaler = StandardScaler().fit(raw["train"])
    columns = {name: scaler.transform(values) for name, values in raw.items()}
    target = {name: store.target[parts.rows[name]] for name in PARTS}
    methods = {}
    for name, make in METHODS.items():
        began = time.perf_counter()
        model = make(seed).fit(columns["train"], target["train"])
        if not hasattr(model, "predict_proba"):
            model = CalibratedClassifierCV(FrozenEstimator(model))
            model.fit(columns["val"], target["val"])
        logits = log_probabilities(model, columns["test"], len(store.classes))
        scores = score(logits, torch.from_numpy(target["test"]), store.classes)
        methods[name] = scores | {"seconds": round(time.perf_counter() - began, 2)}
    chosen = {"split": split, "scaling": scaling, "seed": seed, "fingerprint": store.fingerprint}
    return chosen | {"leakage": parts.leakage["test"], "methods": methods}


def pair_columns(pairs: torch.Tensor) -> np.ndarray:
    """(n, 2 R + 1) pristine, change at unit norm and ln of its norm, of scaled pairs (n, 2, R)."""
    pristine, change = pairs[:, 0], pairs[:, 1] - pairs[:, 0]
    size = change.norm(dim=1, keepdim=True).clamp(min=torch.finfo(pairs.dtype).tiny)
    return torch.cat([pristine, change / size, size.log()], dim=1).numpy()


def log_probabilities(model: Any, columns: np.ndarray, n_classes: int) -> torch.Tensor:
    """(n, n_classes); classes that the model was not shown are given the least probability."""
    probability = np.full((len(columns), n_classes), LEAST_PROBABILITY)
    probability[:, model.classes_] = model.predict_proba(columns)
    return torch.from_numpy(probability).clamp(min=LEAST_PROBABILITY).log().float()
