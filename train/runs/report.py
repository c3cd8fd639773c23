"""A self-contained HTML report of a run or of a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from train.data.leakage import LOOKALIKE
from train.data.splits import PARTS
from train.data.store import Dataset
from train.problems import Problem, Section
from train.report.figures import learning_figure, report_style
from train.report.html import (
    bullets,
    cards,
    figure,
    page,
    paragraph,
    preformatted,
    table,
)
from train.run_files import CONFIG
from train.runs.predictions import Predictions, predict_part
from train.runs.rundir import (
    RunConfig,
    best_epoch,
    read_config,
    read_history,
    read_leakage,
    read_split,
    write_text,
)


def write_report(
    source: Path, output: Path, store: Path | None = None, problem: type[Problem] | None = None
) -> None:
    """Write the report of a run directory or of a store; ValueError if `source` is neither.

    A run's store is looked for where it was trained from, unless `store` says otherwise.

    Args:
        problem: as which to take a store; a run has its own.
    """
    with report_style():
        if (source / CONFIG).exists():
            text = run_report(source, store)
        elif (source / "zarr.json").exists() and problem:
            data = Dataset.open(source)
            text = page(*problem.of(data, problem.recipes["default"]).store_report(data))
        else:
            raise ValueError(
                f"{source} is neither a run directory nor a store: it has no {CONFIG} and no "
                "zarr.json"
            )
    write_text(output, text)


def run_report(run: Path, store: Path | None = None) -> str:
    """The page of a run."""
    config = read_config(run)
    history = read_history(run)
    found = predict_part(run, store or Path(config.store), "test")
    title = f"{config.problem.title}: run {run.resolve().name}"
    return page(title, _sections(run, config, history, found))


def leak_warning(config: RunConfig) -> str | None:
    """What to say first of scores of a split that leaks by intention."""
    if not config.split_leaks:
        return None
    return (
        f"This run was split by {config.split}: {config.split_meaning}. Nearly every test host is "
        "one that the network has seen, so that the scores are not those of an unseen one."
    )


def _sections(
    run: Path, config: RunConfig, history: list[dict[str, float]], found: Predictions
) -> Iterator[Section]:
    problem, scores = config.problem, found.score()
    if novelty := found.novelty():
        scores["novelty"] = novelty
    best = best_epoch(history, problem)
    warning = leak_warning(config)
    shown = problem.cards(scores) | {
        "epochs": f"{len(history)} of {config.recipe.epochs}",
        "training time": f"{sum(record['seconds'] for record in history) / 60:.1f} min",
    }
    yield Section(
        "",
        cards(shown)
        + (paragraph(warning, "warning") if warning else "")
        + paragraph(
            f"Recipe {config.recipe.name}; split by {config.split}: {config.split_meaning}. "
            f"Weights of epoch {best['epoch']}, the best on the validation part."
        ),
    )
    yield from problem.sections(found, scores)
    caption = "Of the weights that are kept, after each epoch."
    yield Section("Learning curves", figure(learning_figure(history), caption))
    yield Section("Split", _split_table(run, found) + _leakage(run, config))
    if caveats := problem.caveats():
        yield Section("Caveats", bullets(caveats))
    yield Section("Configuration", preformatted(_shown_config(config)))


def _split_table(run: Path, found: Predictions) -> str:
    examples, rows = found.examples, read_split(run).rows
    hosts = {part: np.unique(examples.rows[rows[part], 0]) for part in PARTS}
    lines = []
    for part in PARTS:
        counted = [len(np.unique(of[hosts[part]])) for of in examples.counted.values()]
        shared = np.isin(hosts[part], hosts["train"]).sum() if part != "train" else ""
        lines.append((part, len(rows[part]), len(hosts[part]), *counted, shared))
    head = ("part", examples.title, "hosts", *examples.counted, "hosts also in training")
    return table(head, lines)


def _leakage(run: Path, config: RunConfig) -> str:
    leakage = read_leakage(run)
    if "nearest_training_host" not in leakage["test"]:
        return ""
    quantiles = {part: leakage[part]["nearest_training_host"] for part in ("val", "test")}
    left_out = ""
    if not config.split_leaks:
        left_out = (
            f" Below {LOOKALIKE:.0%} a training host is left out: here {len(leakage['left_out'])}."
        )
    rows = [(part, *(f"{100 * d:.1f} %" for d in of.values())) for part, of in quantiles.items()]
    return paragraph(
        "Distance of a part's hosts to the nearest training host, as a fraction of the host's own "
        f"signature (L2): quantiles.{left_out}"
    ) + table(("part", *quantiles["test"]), rows)


def _shown_config(config: RunConfig) -> dict[str, Any]:
    """All but what is too long to read, which problems mark by `repr=False`."""
    fields = type(config.problem).model_fields
    hidden = {name for name, field in fields.items() if not field.repr}
    return config.model_dump(mode="json", exclude={"problem": hidden})
