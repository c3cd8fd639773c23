"""The docs' tables of results: trains what is missing of the runs in them, then writes them.

    python -m benchmarks.studies.results --store metals.zarr --runs runs [--seeds 0 1 2]

Each run is what `defectpdf train` makes, in a folder of RUNS, by the same code: one that is
finished is not repeated, one that was interrupted goes on. Scores of baselines, fits and refusals
are kept there as well. The tables, results.md and results.json, are written anew after each run.
The reference study's own terms (its network and schedule, by row, each trace scaled by itself) come
last, as they take longest.
"""

from __future__ import annotations

import json
import signal
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.studies.results_tables import Line, Run, results_page
from train.data.store import Dataset
from train.fitting.loop import fit
from train.judging.familiarity import REFUSED, Familiarity
from train.problems.defects import PLUG_IN as Defects
from train.problems.defects.examples import DefectExamples, read_examples
from train.problems.defects.recipes import make_recipe
from train.run_files import METRICS
from train.runs.predictions import predict_part
from train.runs.rundir import load_model, write_json, write_text
from train.setup.distributed import World, join_world
from train.setup.recipes import parse_setting

LINES = (
    Line("host", "shared", "store"),
    Line("host", "shared", "streaming"),
    Line("element", "shared", "store"),
    Line("element", "shared", "streaming"),
    Line("host", "trace", "store"),
    Line("host", "trace", "streaming"),
    Line("row", "shared", "store"),
    Line("row", "trace", "store"),
    Line("row", "trace", "store", "reference"),
)
FITTED = (Line("host", "shared", "store"), Line("host", "trace", "store"))
"""To whose test parts defects are fitted, as to each space group that is left out."""


class Wanted(NamedTuple):
    line: Line
    seed: int

    @property
    def folder(self) -> str:
        return "-".join([*self.line, str(self.seed)]).replace(":", "-")


def wanted_runs(store: DefectExamples, seeds: list[int]) -> list[Wanted]:
    groups = np.unique(store.space_group[store.rows[:, 0]])
    left_out = [Line(f"space_group:{group}", "shared", "streaming") for group in groups]
    wanted = [Wanted(line, seed) for seed in seeds for line in (*LINES, *left_out)]
    return sorted(wanted, key=lambda run: run.line.recipe == "reference")


def run_metrics(wanted: Wanted, options: Namespace, world: World) -> dict[str, Any] | None:
    """The metrics of a run, trained if it has to be; None if asked to stop before its end."""
    line = wanted.line
    changes: dict[str, Any] = {"scaling": line.scaling, "draws": line.draws}
    if line.recipe == "ideal":
        changes |= dict(map(parse_setting, options.set))
    if options.quick:
        changes |= {"epochs": 1}
    recipe = make_recipe(line.recipe, changes)
    return fit(options.store, options.runs / wanted.folder, recipe, line.split, wanted.seed, world)


def kept(
    options: Namespace, store: DefectExamples, name: str, compute: Callable[[], dict[str, Any]]
) -> dict[str, Any] | None:
    """Scores by their name in RUNS, computed if they are not there; None if not to be computed."""
    path = options.runs / f"{name}.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["fingerprint"] != store.fingerprint:
            raise ValueError(f"{path} is of another store than {store.path}; delete it")
        return found
    if options.table_only:
        return None
    print(name)
    found = compute() | {"fingerprint": store.fingerprint}
    options.runs.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    return found


def baselines(options: Namespace, store: DefectExamples, seed: int) -> dict[str, Any] | None:
    """The scores of `defectpdf baselines`."""

    def compute() -> dict[str, Any]:
        data = Dataset.open(options.store)
        return Defects.of(data, make_recipe("ideal")).baselines(data, "host", seed)

    return kept(options, store, f"baselines-host-shared-{seed}", compute)


def second_look(options: Namespace, store: DefectExamples, run: Wanted) -> dict[str, Any] | None:
    """Scores of fits to the test part of a finished run, and what part of it the run refuses."""

    def compute() -> dict[str, Any]:
        folder = options.runs / run.folder
        found = predict_part(folder, options.store, "test")
        problem, (model, _) = found.config.problem, load_model(folder)
        source = problem.stored(store, found.config.seed, torch.device("cpu"))
        inputs = source.samples(found.rows).inputs
        familiarity = Familiarity.load(folder, problem.views(model), inputs[:1])
        strangeness = familiarity.strangeness(inputs)
        is_refused = np.max(list(strangeness.values()), axis=0) > REFUSED
        return {"refused": float(is_refused.mean()), "fit": problem.fits(found)}

    return kept(options, store, f"second-look-{run.folder}", compute)


def write_tables(
    options: Namespace,
    store: DefectExamples,
    wanted: list[Wanted],
    found: dict[Wanted, dict[str, Any]],
    methods: list[dict[str, Any]],
    looks: list[Run],
) -> None:
    runs = [Run(run.line, run.seed, metrics) for run, metrics in found.items()]
    lines = list(dict.fromkeys(run.line for run in wanted))
    content = {
        "store": {"fingerprint": store.fingerprint, "hosts": len(store.id)},
        "seeds": options.seeds,
        "runs": [{**run.line._asdict(), "seed": run.seed, **run.metrics} for run in runs],
        "baselines": methods,
        "second_looks": [{**run.line._asdict(), "seed": run.seed, **run.metrics} for run in looks],
    }
    page = results_page(store, options.seeds, lines, runs, methods, looks)
    write_json(options.out / "results.json", content)
    write_text(options.out / "results.md", page)


def make_results(options: Namespace, world: World) -> bool:
    """Whether all that is wanted was done; else it was asked to stop."""
    store = read_examples(Dataset.open(options.store))
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = wanted_runs(store, options.seeds)
    done = {run: (options.runs / run.folder / METRICS).exists() for run in wanted}
    for run in wanted:
        print(f"{'done' if done[run] else 'wanted'}: {options.runs / run.folder}")
    found: dict[Wanted, dict[str, Any]] = {}
    methods: list[dict[str, Any]] = []
    looks: list[Run] = []

    def add(run: Wanted, metrics: dict[str, Any]) -> None:
        found[run] = metrics
        # A group's test part is the same whatever the seed.
        first_of_group = run.line.split.startswith("space_group:") and run.seed == options.seeds[0]
        if (run.line in FITTED or first_of_group) and (look := second_look(options, store, run)):
            looks.append(Run(run.line, run.seed, look))

    def write() -> None:
        write_tables(options, store, wanted, found, methods, looks)

    for run in filter(done.get, wanted):
        add(run, run_metrics(run, options, world) or {})
    write()
    methods += filter(None, (baselines(options, store, seed) for seed in options.seeds))
    write()
    if options.table_only:
        return True
    for run in wanted:
        if not done[run]:
            print(f"training {options.runs / run.folder}")
            metrics = run_metrics(run, options, world)
            if metrics is None:
                return False
            add(run, metrics)
            write()
    return True


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="of `defectpdf generate`")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another choice in the recipe ideal, as of `defectpdf train`; repeatable",
    )
    docs = Path(__file__).parents[2] / "docs"
    parser.add_argument("--out", type=Path, default=docs, help="folder of the tables")
    parser.add_argument(
        "--table-only", action="store_true", help="train nothing, write what is finished"
    )
    parser.add_argument("--quick", action="store_true", help="one epoch, to see that it works")
    options = parser.parse_args()
    try:
        with join_world() as world:
            sys.exit(0 if make_results(options, world) else 128 + signal.SIGTERM)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
