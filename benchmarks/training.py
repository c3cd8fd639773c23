"""What a step of training costs, where the time goes, and what the machine could do.

    python -m benchmarks.training --store metals.zarr [--device cuda]

Both recipes train on the store as `defectpdf train` has them do, by `Trainer.steps`. A step is all
that happens from one loss to the next, plus its share of the loading of an epoch's samples;
validation, snapshots and the log are outside the clock. Parts are timed at the functions that a
step calls. A GPU is waited for at the ends of every part, and the parts are those of a step without
a CUDA graph, so that there they add up to more than the step. What needs CUDA has not yet been run.

Operations are those of matrix products and convolutions, forward and backward, two for a
multiplication with an addition, as torch's FlopCounterMode counts them by shapes. In the reference
network's 3x3 kernels, which slide over images of height 1, two thirds of them meet only padding.
"""

from __future__ import annotations

import statistics
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from operator import add, truediv
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from benchmarks.common import Row, Tables, in_turn, median_and_range, option_parser, report
from benchmarks.training_steps import (
    BACKWARD,
    FORWARD,
    PARTS,
    PRODUCT,
    REST,
    SAMPLES,
    Work,
    batch_of,
    ceilings,
    epoch_samples,
    make_trainer,
    operations,
    parts_of_step,
    seconds_each,
    whole_step,
)
from hpc.description import RunDescription
from hpc.executors import start_executor
from hpc.generate import generate
from train.data.store import Dataset
from train.fitting.graphs import GraphedStep
from train.fitting.optimisation import make_optimizer
from train.fitting.trainer import Trainer
from train.problems.defects.recipes import make_recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS, PARTS_OF_STEP = "a step of each recipe", "parts of a step"
CEILING, CHOICES = "what the machine can do", "other choices"
"""Titles of the tables."""
OPTIMISERS: dict[str, dict[str, bool | None]] = {
    "fused": {"fused": True, "foreach": None},
    "foreach": {"fused": False, "foreach": True},
    "plain loop": {"fused": False, "foreach": False},
}
BOTH_WAYS = "GFLOP/s, forward and backward"
MFLOP, GFLOP = 1e6, 1e9
QUICK = RunDescription.model_validate(
    {
        "library": {"limit": 12},
        "defects": {"supercell": (2, 2, 2)},
        "pdf": {"rmax": 12.0, "points": 60},
    }
)
"""Of the store of a quick run."""


class Sizes(NamedTuple):
    """How much is timed together."""

    steps: int
    product: int
    """rows and columns of the matrices"""


def costs(
    trainers: dict[str, Trainer], sizes: Sizes, runs: int
) -> tuple[list[Row], list[Row], list[Row]]:
    """The tables of steps, parts and ceilings, which are measured in turn."""
    device = trainers["default"].world.device
    works = ceilings(trainers, sizes.product, device)
    contestants: dict[str, Callable[[int], Any]] = {}
    for name, trainer in trainers.items():
        contestants[f"{name}, whole"] = partial(whole_step, trainer, sizes.steps)
        contestants[f"{name}, parts"] = partial(parts_of_step, trainer, sizes.steps)
        contestants[f"{name}, samples"] = partial(epoch_samples, trainer)
    for title, (call, _) in works.items():
        times = 2 if title.startswith(PRODUCT) else sizes.steps
        contestants[title] = partial(seconds_of_run, call, times, device)
    found = in_turn(contestants, runs)
    parts = {name: median_parts(name, trainer, found) for name, trainer in trainers.items()}
    steps = [
        step_row(trainer, parts[name], found[f"{name}, whole"])
        for name, trainer in trainers.items()
    ]
    return steps, part_rows(parts), ceiling_rows(works, found, steps)


def seconds_of_run(call: Callable[[], object], times: int, device: torch.device, _: int) -> float:
    return seconds_each(call, times, device)


def median_parts(name: str, trainer: Trainer, found: dict[str, list[Any]]) -> dict[str, float]:
    """Seconds of a step by its parts, with its share of the loading of samples."""
    runs = found[f"{name}, parts"]
    parts = {part: statistics.median(run.get(part, 0.0) for run in runs) for part in PARTS}
    return parts | {SAMPLES: statistics.median(found[f"{name}, samples"]) / trainer.order.batches}


def step_row(trainer: Trainer, parts: dict[str, float], steps: list[float]) -> Row:
    recipe, flop = trainer.recipe, operations(trainer)
    whole = [parts[SAMPLES] + step for step in steps]
    epoch = statistics.median(whole) * trainer.order.batches
    return {
        "recipe": recipe.name,
        "rows": trainer.order.batch_size,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "MFLOP": flop / MFLOP,
        **median_and_range("ms", [1e3 * step for step in whole]),
        "GFLOP/s": flop / GFLOP / statistics.median(whole),
        BOTH_WAYS: flop / GFLOP / (parts[FORWARD] + parts[BACKWARD]),
        "s/epoch": epoch,
        "epochs": recipe.epochs,
        "s/all epochs": epoch * recipe.epochs,
    }


def part_rows(parts: dict[str, dict[str, float]]) -> list[Row]:
    rows = []
    for part in PARTS:
        row: Row = {"part": part}
        for name, seconds in parts.items():
            row[f"{name} ms"] = 1e3 * seconds[part]
            row[f"{name} %"] = 100 * seconds[part] / sum(seconds.values())
        rows.append(row)
    return rows


def ceiling_rows(
    works: dict[str, Work], found: dict[str, list[Any]], steps: list[Row]
) -> list[Row]:
    rows = []
    for title, (_, flop) in works.items():
        rates = [flop / GFLOP / seconds for seconds in found[title]]
        row: Row = {"work": title, **median_and_range("GFLOP/s", rates)}
        for step in steps:
            # The convolution of the one network says nothing of the other.
            concerns = title.startswith(PRODUCT) or title.endswith(step["recipe"])
            # Best against best, since medians of minutes far apart are of a machine otherwise busy.
            fastest = step["MFLOP"] / step["ms range"][0]
            row[f"{step['recipe']} reaches %"] = 100 * fastest / max(rates) if concerns else None
        rows.append(row)
    return rows


def choices(trainers: dict[str, Trainer], sizes: Sizes, runs: int) -> list[Row]:
    """What else could have been chosen, beside what is."""
    rows = []
    for name, trainer in trainers.items():
        batch = trainer.order.batch_size
        groups = {
            "optimiser's step": (optimiser_steps(trainer, sizes.steps), None),
            "precision": (precisions(trainer, sizes.steps), batch),
        }
        if trainer.world.device.type == "cuda":
            groups["launches"] = (launches(trainer, sizes.steps), batch)
        for choice, (contestants, n_rows) in groups.items():
            rows += choice_rows(name, choice, in_turn(contestants, runs), n_rows)
    stored = trainers["default"]
    fresh = varied(stored, draws="streaming")
    draws = {"store": partial(epoch_samples, stored), "streaming": partial(epoch_samples, fresh)}
    n_rows = stored.order.batches * stored.order.batch_size
    return rows + choice_rows("default", "samples of an epoch", in_turn(draws, runs), n_rows)


def optimiser_steps(trainer: Trainer, steps: int) -> dict[str, Callable[[int], float]]:
    """Seconds of the optimiser's step alone, by the way it goes over the parameters."""
    contestants: dict[str, Callable[[int], float]] = {}
    for kind, options in OPTIMISERS.items():
        model = deepcopy(trainer.model)
        optimizer = make_optimizer(trainer.recipe, model)
        for group in optimizer.param_groups:
            group.update(options)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        device = trainer.world.device
        contestants[kind] = partial(seconds_of_run, optimizer.step, steps, device)
    return contestants


def precisions(trainer: Trainer, steps: int) -> dict[str, Callable[[int], float]]:
    if trainer.world.device.type == "cpu":
        steps = max(1, steps // 10)  # without products in bfloat16 each of them takes seconds
    ways = {"float32": trainer, "bfloat16": varied(trainer, precision="bfloat16")}
    return {kind: partial(whole_step, way, steps) for kind, way in ways.items()}


def varied(trainer: Trainer, **choice: str) -> Trainer:
    """Another trainer on the same rows, which differs by one choice."""
    recipe = trainer.recipe.model_copy(update=choice)
    return make_trainer(trainer.examples.data, trainer.world.device, recipe)


def launches(trainer: Trainer, steps: int) -> dict[str, Callable[[int], float]]:
    """Seconds of `Trainer.update`, kernel by kernel and as a CUDA graph."""
    batch, device = batch_of(trainer), trainer.world.device
    ways: dict[str, Callable[..., torch.Tensor]]
    ways = {"eager": trainer.update, "CUDA graph": GraphedStep(trainer.update)}
    return {
        kind: partial(seconds_of_run, partial(step, *batch), steps, device)
        for kind, step in ways.items()
    }


def choice_rows(
    recipe: str, choice: str, found: dict[str, list[float]], n_rows: int | None
) -> list[Row]:
    """A row for each way; the first is what the others are compared with."""
    first = next(iter(found.values()))
    return [
        {
            "recipe": recipe,
            "choice": choice,
            "way": way,
            **median_and_range("ms", [1e3 * second for second in seconds]),
            **median_and_range("times the first", list(map(truediv, seconds, first))),
            "rows/s": n_rows and n_rows / statistics.median(seconds),
        }
        for way, seconds in found.items()
    ]


def draw(tables: Tables) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.4), layout="constrained")
    axes = figure.subplots()
    names = [row["recipe"] for row in tables[STEPS]]
    left = [0.0] * len(names)
    for place, row in enumerate(tables[PARTS_OF_STEP]):
        widths = [row[f"{name} ms"] for name in names]
        colour = "0.7" if row["part"] == REST else f"C{place}"
        axes.barh(names, widths, left=left, label=row["part"], color=colour)
        left = list(map(add, left, widths))
    axes.set(title=PARTS_OF_STEP, xlabel="ms")
    axes.invert_yaxis()
    figure.legend(loc="outside right center")
    return figure


@contextmanager
def store_of(options: Namespace) -> Iterator[Dataset]:
    """The store that was asked for; in a quick run, a tiny one of its own."""
    if options.store:
        yield Dataset.open(options.store)
        return
    with tempfile.TemporaryDirectory() as folder, start_executor("serial", 1) as execute:
        assert execute is not None  # as it is only in an MPI worker
        path = Path(folder) / "metals.zarr"
        generate(path, QUICK, execute)
        yield Dataset.open(path)


def main() -> None:
    parser = option_parser(__doc__, runs=5)
    parser.add_argument("--store", type=Path, help="to train on; needed without --quick")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument(
        "--device", type=torch.device, default=device, help="[default: %(default)s]"
    )
    options = parser.parse_args()
    if not (options.store or options.quick):
        parser.error("--store: give a store of `defectpdf generate`, or --quick for a tiny one")
    device = options.device
    sizes, changes = Sizes(30, 8192 if device.type == "cuda" else 2048), {}
    if options.quick:
        sizes, changes = Sizes(4, 256), {"batch_size": 8}
    with store_of(options) as data:
        trainers = {
            name: make_trainer(data, device, make_recipe(name, changes))
            for name in ("default", "reference")
        }
        steps, parts, ceiling = costs(trainers, sizes, options.runs)
        found = choices(trainers, sizes, options.runs)
        points = data.array("r").shape[0]
    tables = {STEPS: steps, PARTS_OF_STEP: parts, CEILING: ceiling, CHOICES: found}
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    notes = [
        f"{where}, {torch.get_num_threads()} threads of torch; traces of {points} points",
        "s/epoch and s/all epochs are estimates: the median step times the steps, no validation",
    ]
    report("training", options, tables, notes, draw)


if __name__ == "__main__":
    main()
