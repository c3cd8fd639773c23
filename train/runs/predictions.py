"""What a run's model says of a part of its split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.data.examples import Examples
from train.data.store import Dataset
from train.judging.calibration import read_calibration
from train.judging.evaluation import Judged, predict
from train.run_files import METRICS
from train.runs.rundir import (
    RunConfig,
    load_model,
    read_config,
    read_history,
    read_leakage,
    read_rows,
)
from train.setup.distributed import World


@dataclass(frozen=True)
class Predictions(Judged):
    """What a run's model says of a part of its split, calibrated."""

    config: RunConfig
    training: np.ndarray
    """(m,) rows of the training part."""
    leakage: dict[str, Any] | None
    """What the part shares with training; None for the training part."""
    caveats: tuple[str, ...]
    """Why the scores are not those of the finished run."""

    def score(self) -> dict[str, Any]:
        scores = self.config.problem.judge(self.predicted)
        return scores | ({"leakage": self.leakage} if self.leakage else {})

    def novelty(self) -> dict[str, Any] | None:
        """As of `Problem.novelty`; None of the training part."""
        if not self.leakage:
            return None
        return self.config.problem.novelty(self.examples, self.rows, self.training)


def predict_part(run: Path, store: Path | str, part: str) -> Predictions:
    """Apply a run's model to a part of the split that was made when it was trained.

    Raises:
        ValueError: `run` is no run with a model, or `store` not the one that it was trained on.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    problem = read_config(run).problem
    examples = problem.examples(Dataset.open(store))
    rows, training = (read_rows(run, name, examples) for name in (part, "train"))
    model, config = load_model(run, device)
    # All files are read, and refused, before what takes time.
    calibration = read_calibration(run, problem.layout(model).regressions)
    leakage = read_leakage(run).get(part)
    caveats = tuple(_caveats(run, config, examples))
    source = problem.stored(examples, config.seed, device)
    found = predict(model, problem, source, rows, World(0, 1, device))
    calibrated = found._replace(outputs=calibration.apply(found.outputs))
    return Predictions(examples, rows, calibrated, config, training, leakage, caveats)


def _caveats(run: Path, config: RunConfig, examples: Examples) -> Iterator[str]:
    if not (run / METRICS).exists():
        done, epochs = len(read_history(run)), config.recipe.epochs
        yield f"{run} is not finished, {done} of {epochs} epochs: its probabilities are raw"
    if config.input_hash != examples.data.attributes.get("input_hash"):
        yield (
            f"{examples.path} has the hosts of {config.store}, on which {run} was trained, but "
            "other settings"
        )
