"""A trained model for use elsewhere: its weights, a card that describes it and a torch program."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.data.splits import split_meaning
from train.judging.calibration import Calibration, read_calibration
from train.models import Model, Outputs
from train.problems.defects.inputs import PairInput
from train.report.report import CAVEATS, ROW_WARNING
from train.runs.rundir import (
    METRICS,
    MODEL,
    RunConfig,
    load_model,
    read_config,
    read_metrics,
    write_json,
)

CARD, PROGRAM = "model.json", "model.pt2"
SCALING_MEANING = {
    "shared": "both traces minus the pristine one's minimum, over the pristine one's range",
    "trace": "each trace minus its own minimum, over its own range",
}


class Classifier(torch.nn.Module):
    """Class probabilities (n, classes) of un-normalised G(r) in 1/A^2, each (n, R) float32."""

    def __init__(self, model: Model, inputs: PairInput, classes: int, calibration: Calibration):
        super().__init__()
        self.model, self.inputs, self.classes = model, inputs, classes
        self.calibration = calibration

    def forward(self, pristine: torch.Tensor, defective: torch.Tensor) -> torch.Tensor:
        outputs = Outputs.of(self.model(self.inputs(pristine, defective)), self.classes)
        return self.calibration.apply(outputs).logits.softmax(1)


def export_model(run: Path, folder: Path) -> dict[str, Any]:
    """Write model.safetensors, model.pt2 and model.json, the card, which is returned.

    The folder appears when all is in it.

    Raises:
        ValueError: `run` is no run or not finished, or `folder` is not new and not empty.
    """
    config = read_config(run)
    if not (run / METRICS).exists():
        raise ValueError(
            f"{run} is not finished: it has no {METRICS}; run the same `defectpdf train` again"
        )
    scores, (model, _) = read_metrics(run), load_model(run)
    calibration = read_calibration(run, model.regressions)
    with new_folder(folder) as unfinished:
        shutil.copyfile(run / MODEL, unfinished / MODEL)
        classifier = Classifier(model, config.inputs, len(config.classes), calibration)
        write_program(classifier, len(config.r), unfinished / PROGRAM)
        card = {
            "description": "Tells the kind of point defect in an elemental metal from two pair "
            "distribution functions G(r), of the pristine and of the defective crystal.",
            **_describe_model(model, config),
            "calibration": calibration.model_dump(),
            "training": _describe_training(config),
            "scores": scores,
            "caveats": [*([ROW_WARNING] if config.split == "row" else []), *CAVEATS],
            "versions": {"training": config.versions, "export": _versions()},
            "sha256": {name: _sha256(unfinished / name) for name in (MODEL, PROGRAM)},
        }
        write_json(unfinished / CARD, card)
    return card


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its place when the block ends, and is gone if that fails."""
    target = folder.resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{folder} is in use: choose a new or an empty folder")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.partial")
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        os.replace(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_program(classifier: Classifier, points: int, path: Path) -> None:
    """Write the classifier, for traces of so many points and any number of them, for torch alone.

    `torch.export.load(path).module()(pristine, defective)` runs it.
    """
    example = torch.zeros(2, points), torch.zeros(2, points)
    rows = torch.export.Dim("n")
    fixed = classifier.eval().requires_grad_(False)
    program = torch.export.export(fixed, example, dynamic_shapes=({0: rows}, {0: rows}))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # has the paths of this machine
    torch.export.save(program, path)


def _describe_model(model: torch.nn.Module, config: RunConfig) -> dict[str, Any]:
    points, classes, scaling = len(config.r), len(config.classes), config.recipe.scaling
    r = np.array(config.r)
    steps = np.diff(r).round(6)
    return {
        "architecture": {"name": config.recipe.model, "classes": classes},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "input": {
            "pristine": "G(r) of the host without defects",
            "defective": "G(r) of the same host with defects",
            "units": "1/A^2, un-normalised",
            "shape": f"(n, {points}) each, float32",
            "r": {
                "units": "A",
                "first": config.r[0],
                "last": config.r[-1],
                "points": points,
                "step": {"smallest": steps.min(), "largest": steps.max()},
                "values": config.r,
            },
        },
        "scaling": {
            "name": scaling,
            "meaning": SCALING_MEANING[scaling],
            "where": f"{PROGRAM} does it; the network of {MODEL} takes scaled pairs "
            f"(n, 2, {points})",
        },
        "absorbed": {
            "names": config.recipe.absorbed,
            "meaning": "parameters of the host and the instrument whose first-order effect is "
            "taken off the change first, as of train.problems.defects.inputs.PairInput",
        },
        "output": f"{PROGRAM}: probabilities (n, {classes}) in the order of classes; the first "
        f"{classes} outputs of the network of {MODEL} are their logits, to be divided by the "
        "calibration's temperature",
        "classes": config.classes,
    }


def _describe_training(config: RunConfig) -> dict[str, Any]:
    return {
        "store": Path(config.store).name,
        "fingerprint": config.fingerprint,
        "instrument": config.instrument,
        "split": {"kind": config.split, "meaning": split_meaning(config.split)},
        "seed": config.seed,
        "recipe": config.recipe.model_dump(mode="json"),
    }


def _versions() -> dict[str, str]:
    packages = ("defectpdf", "torch", "safetensors")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
