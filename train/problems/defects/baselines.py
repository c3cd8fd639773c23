"""scikit-learn's classifiers on pairs of traces, with the splits and the scaling of the networks.

What they see of a scaled pair is the pristine trace, the change at unit norm and ln of its norm,
each column standardised on the training rows: with the bare change, whose size varies by three
orders of magnitude with the defect and its concentration, all that were tried did worse. Beside
them, of G(r) on a shared scale, gradient boosting sees a few amplitudes in place of the traces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from train.data.splits import PARTS
from train.data.store import Dataset
from train.judging.baselines import METHODS, gradient_boosting, score_methods
from train.problems.defects.amplitudes import AMPLITUDES, Amplitudes
from train.problems.defects.sources import ErringSource

if TYPE_CHECKING:
    from train.data.leakage import Split
    from train.problems.defects.examples import DefectExamples
    from train.problems.defects.task import DefectTask

ON_AMPLITUDES = {
    "gradient boosting, amplitudes": AMPLITUDES,
    "gradient boosting, and correlation": AMPLITUDES + 1,
}
"""By method, how many columns of `Amplitudes` it sees."""


def score_baselines(
    problem: DefectTask, data: Dataset, split: str | None, seed: int
) -> dict[str, Any]:
    """Scores of all methods on the test part, and its leakage.

    They are those of `train.judging.baselines`, and ON_AMPLITUDES for G(r) on a shared scale.
    """
    examples = problem.examples(data)
    split = split or next(iter(examples.splits))
    parts = problem.split(examples, split, seed)
    target = {name: examples.target[parts.rows[name]] for name in PARTS}
    source = problem.stored(examples, seed, torch.device("cpu"))
    columns = {name: pair_columns(source.samples(parts.rows[name]).inputs) for name in PARTS}
    methods = score_methods(METHODS, columns, target, problem.classes, seed)
    if problem.trace.is_pdf and problem.recipe.scaling == "shared":
        amplitudes = _amplitudes(problem, examples, parts, seed)
        for name, number in ON_AMPLITUDES.items():
            seen = {part: of[:, :number] for part, of in amplitudes.items()}
            boosted = {name: gradient_boosting}
            methods |= score_methods(boosted, seen, target, problem.classes, seed)
    chosen = {"split": split, "scaling": problem.recipe.scaling, "seed": seed}
    return chosen | {
        "fingerprint": examples.fingerprint,
        "title": examples.title,
        "leakage": parts.leakage["test"],
        "methods": methods,
    }


def _amplitudes(
    problem: DefectTask, examples: DefectExamples, parts: Split, seed: int
) -> dict[str, np.ndarray]:
    """(n, AMPLITUDES + 1) by part, of the traces that `pair_columns` has."""
    inputs, errors = Amplitudes(problem.inputs(), problem.points), problem.recipe.errors
    source = ErringSource(examples, inputs, errors, seed, torch.device("cpu"), resident=False)
    return {name: source.samples(parts.rows[name]).inputs.numpy() for name in PARTS}


def pair_columns(pairs: torch.Tensor) -> np.ndarray:
    """(n, 2 R + 1) pristine, change at unit norm and ln of its norm, of scaled pairs (n, 2, R)."""
    pristine, change = pairs[:, 0], pairs[:, 1] - pairs[:, 0]
    size = change.norm(dim=1, keepdim=True).clamp(min=torch.finfo(pairs.dtype).tiny)
    return torch.cat([pristine, change / size, size.log()], dim=1).numpy()
