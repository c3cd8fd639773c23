"""How a run fares where the sample is not quite what it was trained on.

    python -m benchmarks.studies.mismatches --store relaxed.zarr --run RUN

Samples of the hosts of the run's test part are made anew as the store's were, but for one thing at
a time: what is thought of the host, how atoms relax, noise and scale. The host is refined against
each of them. Prints the accuracy, and the recall of each class.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from defectgen.hosts.host import Host
from defectgen.samples import Resources, Stage, UnusableItem
from defectgen.stages.relaxed import Relaxed
from defectgen.stages.strain import Strain
from hpc.description import RunDescription
from hpc.store.store import Store
from hpc.watching.console import plain_console
from train.data.store import Dataset
from train.problems.defects.errors import Errors, RowErrors
from train.problems.defects.examples import PRISTINE, REFINED
from train.problems.defects.problem import read_problem
from train.problems.defects.task import DefectTask
from train.runs.rundir import load_model, read_config, read_rows

NOISE = 0.01
"""Of the root mean square of the host's trace, but where it is what varies."""


@dataclass(frozen=True)
class Mismatch:
    """What samples are made with.

    Args:
        stages: in place of the store's.
        cell, uiso: of the samples over what is thought of the host.
    """

    stages: tuple[Stage, ...]
    cell: float = 1.0
    uiso: float = 1.0

    def of(self, host: Host) -> Host:
        return host.changed(self.cell * host.a, self.cell * host.c, self.uiso * host.uiso)


@dataclass(frozen=True, eq=False)
class Samples:
    """Of n variants of some hosts: traces (n, R), 1/A^2, and what they hold."""

    host: np.ndarray
    sample: np.ndarray
    label: np.ndarray
    rows: np.ndarray


def mismatches(stages: Sequence[Stage]) -> dict[str, Mismatch]:
    """By name; `stages` are the store's, of which the first may relax."""
    is_relaxed = bool(stages) and isinstance(stages[0], Relaxed)
    rest = stages[1:] if is_relaxed else stages

    def amplitude(low: float, high: float) -> Mismatch:
        return Mismatch((Relaxed(amplitude=(low, high)), *rest))

    shear = Strain(axial=(-0.001, 0.001), shear=(-0.001, 0.001))
    return {
        "as in the store": Mismatch(tuple(stages)),
        "cell +0.1 %": Mismatch(tuple(stages), cell=1.001),
        "cell -0.1 %": Mismatch(tuple(stages), cell=0.999),
        "Uiso +5 %": Mismatch(tuple(stages), uiso=1.05),
        "Uiso -5 %": Mismatch(tuple(stages), uiso=0.95),
        "relaxed": amplitude(0.7, 1.3),
        "relaxed by 30 % more": amplitude(1.3, 1.3),
        "relaxed by 30 % less": amplitude(0.7, 0.7),
        "relaxed by half": amplitude(0.5, 0.5),
        "strained at random by 0.1 %": Mismatch((*stages, shear)),
        "on their sites": Mismatch(tuple(rest)),
    }


def samples_of(hosts: Sequence[Host], description: RunDescription, mismatch: Mismatch) -> Samples:
    """All variants of some hosts, made with a mismatch, and the hosts refined against them."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        made = partial(_observed, description=description, mismatch=mismatch)
        found = list(pool.map(made, hosts, chunksize=4))
    rows = [(i, v) for i, (_, _, label) in enumerate(found) for v in range(len(label))]
    host, sample, label = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Samples(host, sample, label, np.array(rows))


def _observed(
    host: Host, description: RunDescription, mismatch: Mismatch
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """G(r) (V, R) of the refined host and of the samples, and labels (V,); none if it fails."""
    samples = description.source.draw(mismatch.of(host), description.seed)
    samples = [replace(sample, crystal=host.atoms) for sample in samples]
    try:
        for stage in mismatch.stages:
            samples = stage.apply(samples, Resources())
        observed = description.pdf.compute(samples, Resources())
    except UnusableItem:
        empty = np.empty((0, description.pdf.points))
        return empty, empty, np.empty(0, dtype=int)
    labels = np.array([sample.values["label"] for sample in samples])
    return observed[REFINED], observed["g"], labels


class Judge:
    """A run, to be asked about samples that are in no store."""

    def __init__(self, run: Path, ids: Sequence[str]) -> None:
        self.problem: DefectTask = read_problem(run)
        self._model, self._config = load_model(run)
        self._ids = ids

    @torch.no_grad()
    def classes(self, samples: Samples, errors: Errors) -> np.ndarray:
        """(n,) names of what is found."""
        host, sample = (torch.from_numpy(g).float() for g in (samples.host, samples.sample))
        points = self.problem.points
        adder = RowErrors(errors, self._ids, samples.rows, points, self._config.seed)
        measured = adder.pair(host, sample, np.arange(len(sample)), 0)
        logits = self._model(self.problem.inputs()(*measured))[:, : len(self.problem.classes)]
        return np.array(self.problem.classes)[logits.argmax(1).numpy()]


def named(label: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """(n,) classes that labels (n,) of a store stand for."""
    return np.array([PRISTINE, *(c for c in classes if c != PRISTINE)])[label]


def line(name: str, samples: Samples, found: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy over all rows, and recall by class."""
    truth = named(samples.label, classes)
    recall = {c: float(np.mean(found[truth == c] == c)) for c in classes}
    return {"what": name, "accuracy": float(np.mean(found == truth)), "recall": recall}


def lines(run: Path, store: Path) -> Iterator[dict[str, Any]]:
    """Of a run and its store.

    Raises:
        ValueError: the store is not the run's, or has no refined hosts.
    """
    config, whole = read_config(run), Store(store)
    description = whole.description
    if not description.pdf.refine_host:
        raise ValueError(f"{store}: its hosts are not refined (refine_host of [pdf])")
    examples = config.problem.examples(Dataset.open(store))
    structures = np.unique(examples.rows[read_rows(run, "test", examples), 0])
    hosts = [whole.items[index] for index in structures.tolist()]
    judge = Judge(run, [host.id for host in hosts])
    classes = judge.problem.classes
    errors = judge.problem.recipe.errors.model_copy(update={"noise": NOISE})
    usual: Samples | None = None
    for name, mismatch in mismatches(description.stages).items():
        samples = samples_of(hosts, description, mismatch)
        usual = usual or samples
        yield line(name, samples, judge.classes(samples, errors), classes)
    assert usual is not None
    for noise in (0.0, 0.002, 0.005, 0.02, 0.05):
        found = judge.classes(usual, errors.model_copy(update={"noise": noise}))
        yield line(f"noise {100 * noise:g} % of the rms", usual, found, classes)
    for scale in (0.998, 1.002, 0.99, 1.01):
        scaled = replace(usual, sample=scale * usual.sample)
        found = judge.classes(scaled, errors.model_copy(update={"scale": 0.0}))
        yield line(f"scale {100 * (scale - 1):+g} %", usual, found, classes)


def print_lines(found: Sequence[dict[str, Any]]) -> None:
    classes = list(found[0]["recall"])
    table = Table("sample", title="accuracy, and recall of each class, %")
    for heading in ("accuracy", *classes):
        table.add_column(heading, justify="right")
    for one in found:
        rates = (one["accuracy"], *(one["recall"][name] for name in classes))
        table.add_row(one["what"], *(f"{100 * rate:.1f}" for rate in rates))
    plain_console().print(table)


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="with refined hosts")
    parser.add_argument("--run", type=Path, required=True, help="finished, on the store")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args()
    try:
        found = list(lines(options.run, options.store))
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    if options.json:
        print(json.dumps(found))
    else:
        print_lines(found)


if __name__ == "__main__":
    main()
