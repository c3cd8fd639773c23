"""Scores of a run against noise and instrument, on fresh defects in the hosts of a part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from hpc.observables.pdf import PDFSettings
from hpc.store.store import Store
from train.data.store import Dataset
from train.judging.calibration import read_calibration
from train.judging.evaluation import predict
from train.problems.defects.fresh_draws import Variation
from train.problems.defects.scores import score
from train.problems.defects.sources import FreshSource
from train.runs.rundir import load_model, read_rows
from train.setup.distributed import World

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from train.problems.defects.task import DefectTask

_NOISE = (0.002, 0.005, 0.01, 0.02, 0.05)
_CHANGES = (-0.05, -0.02, -0.01, 0.01, 0.02, 0.05)
_UISO_FACTORS = (0.7, 0.8, 0.9, 1.1, 1.2, 1.4)
_QMAX_FACTORS = (0.7, 0.8, 0.9, 1.1, 1.2)
_RMAX_FACTORS = (1 / 3, 1 / 2, 2 / 3, 5 / 6)
_QDAMP = (0.0, 0.01, 0.02, 0.04, 0.05, 0.06)
_QBROAD = (0.0, 0.005, 0.02, 0.03, 0.04)


@dataclass(frozen=True)
class Quantity:
    """What is given one value after another, by its name in `Variation`.

    Args:
        stored: its value in the store.
        values: others to give it.
    """

    name: str
    stored: float
    values: tuple[float, ...]

    def variation(self, value: float) -> Variation:
        """This quantity at a value, all others as in the store."""
        return Variation() if value == self.stored else Variation(**{self.name: (value, value)})


def quantities_of(pdf: PDFSettings) -> list[Quantity]:
    """What to vary for a store of these settings: around them, and as far as its grid of r goes."""
    qmax = [pdf.qmax * factor for factor in _QMAX_FACTORS]
    rmax = [pdf.rmax * factor for factor in _RMAX_FACTORS]
    return [
        Quantity("noise", 0.0, _NOISE),
        Quantity("scale", 0.0, _CHANGES),
        Quantity("rmax", pdf.rmax, tuple(r for r in rmax if r > pdf.rmin)),
        Quantity("qmax", pdf.qmax, tuple(q for q in qmax if pdf.qmin < q <= math.pi / pdf.rstep)),
        Quantity("qdamp", pdf.qdamp, _QDAMP),
        Quantity("qbroad", pdf.qbroad, _QBROAD),
        Quantity("uiso", 1.0, _UISO_FACTORS),
        Quantity("strain", 0.0, _CHANGES),
    ]


@dataclass(frozen=True)
class Robustness:
    """Scores of a run by the value of one quantity at a time."""

    run: Path
    store: Path
    part: str
    n: int
    seed: int
    quantities: dict[str, dict[str, Any]]
    """By name: the value in the `store`, the range that the run was `trained` on, and the `scores`
    (`value`, `accuracy`, `top2`, `ece`) by rising value."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "run": str(self.run), "store": str(self.store)}

    def figure(self) -> Figure:
        """A panel for each quantity."""
        from train.problems.defects.figures import robustness_figure

        return robustness_figure(self.quantities)

    def print(self) -> None:
        """A table for a terminal."""
        from train.problems.defects.tables import print_robustness

        print_robustness(self.record())


def measure_robustness(run: Path, store: Path, part: str) -> Robustness:
    """Scores of a run's model while one quantity at a time takes fixed values.

    The rows have the hosts and kinds of the part's. Their defects are the same at all values and
    none of those that the run was trained on. The crystal and the instrument of the pristine trace
    vary with those of the defective one; scale and noise are errors of the latter alone.

    Raises:
        ValueError: the store is not the run's, or lacks the hosts that it was made from.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, config = load_model(run, device)
    problem = cast("DefectTask", config.problem)
    calibration = read_calibration(run, problem.layout(model).regressions)
    examples = problem.examples(Dataset.open(store))
    rows = read_rows(run, part, examples)
    # No training has a negative seed.
    seed = -1 - config.seed
    target = torch.from_numpy(examples.target[rows])

    def scores_with(variation: Variation) -> dict[str, float]:
        errors = problem.recipe.errors
        source = FreshSource(examples, problem.inputs(), errors, variation, seed, device)
        found = predict(model, problem, source, rows, World(0, 1, device))
        logits = calibration.apply(found.outputs).logits
        scores = score(logits, target, problem.classes)
        calibration_error = scores["calibration"]["ece"]
        return {"accuracy": scores["accuracy"], "top2": scores["top2"], "ece": calibration_error}

    as_stored = scores_with(Variation())
    trained = problem.recipe.variation.ranges
    found = {}
    for quantity in quantities_of(Store(store).description.pdf):
        name, stored = quantity.name, quantity.stored
        scores = {value: scores_with(quantity.variation(value)) for value in quantity.values}
        scores[stored] = as_stored
        found[name] = {
            "store": stored,
            "trained": trained.get(name, (stored, stored)),
            "scores": [{"value": value, **scores[value]} for value in sorted(scores)],
        }
    return Robustness(run, store, part, len(rows), seed, found)
