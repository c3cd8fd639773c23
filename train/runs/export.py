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

import torch

from train.judging.calibration import read_calibration
from train.problems import Program
from train.run_files import METRICS, MODEL
from train.runs.report import leak_warning
from train.runs.rundir import (
    RunConfig,
    load_model,
    read_config,
    read_metrics,
    write_json,
)

CARD, PROGRAM = "model.json", "model.pt2"


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
    calibration = read_calibration(run, config.problem.layout(model).regressions)
    program = config.problem.program(model, calibration)
    warning = leak_warning(config)
    with new_folder(folder) as unfinished:
        shutil.copyfile(run / MODEL, unfinished / MODEL)
        write_program(program, unfinished / PROGRAM)
        card = {
            **program.card,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "calibration": calibration.model_dump(),
            "training": _describe_training(config),
            "scores": scores,
            "caveats": [*([warning] if warning else []), *config.problem.caveats()],
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


def write_program(program: Program, path: Path) -> None:
    """Write the program, for any number of rows, for torch alone.

    `torch.export.load(path).module()(...)` runs it.
    """
    rows = torch.export.Dim("n")
    shapes = tuple({0: rows} for _ in program.example)
    fixed = program.module.eval().requires_grad_(False)
    exported = torch.export.export(fixed, program.example, dynamic_shapes=shapes)
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # has the paths of this machine
    torch.export.save(exported, path)


def _describe_training(config: RunConfig) -> dict[str, Any]:
    return {
        "store": Path(config.store).name,
        "fingerprint": config.fingerprint,
        "description": config.description,
        "split": {"kind": config.split, "meaning": config.split_meaning},
        "seed": config.seed,
        "recipe": config.recipe.model_dump(mode="json"),
    }


def _versions() -> dict[str, str]:
    packages = ("defectpdf", "torch", "safetensors")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
