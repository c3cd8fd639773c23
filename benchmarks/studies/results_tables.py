"""The page of results: Markdown tables of means and standard deviations over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from defectgen.point_defects.settings import KINDS
from train.data.leakage import LOOKALIKE
from train.problems.defects.examples import DefectExamples

NOT_RUN = "not run"
STUDY = ("row: the reference study, as published, on ICSD", "trace", "store", "reference", "1")
STUDY_SCORES = ("80.10 %", "99.72 %", "", "")
SCORES = ("accuracy", "top-2", "calibration error", "test PDFs")


class Line(NamedTuple):
    """A line of a table: what its runs, of different seeds, have in common."""

    split: str
    scaling: str
    draws: str
    recipe: str = "ideal"


class Run(NamedTuple):
    line: Line
    seed: int
    metrics: dict[str, Any]


def results_page(
    store: DefectExamples,
    seeds: Sequence[int],
    lines: Sequence[Line],
    runs: Sequence[Run],
    baselines: Sequence[dict[str, Any]],
    looks: Sequence[Run],
) -> str:
    """Markdown of all tables; lines without a finished run say so.

    Args:
        baselines: scores by method, of each seed.
        looks: what fits make of the test parts of some of the runs, and what these refuse.
    """
    left_out = [line for line in lines if line.split.startswith("space_group:")]
    others = [line for line in lines if line not in left_out]
    tests = {line: [run.metrics["test"] for run in runs if run.line == line] for line in lines}
    splits = list(dict.fromkeys(line.split for line in lines))

    def of_line(line: Line) -> list[dict[str, Any]]:
        return [look.metrics for look in looks if look.line == line]

    sections = [
        "# Results",
        "Written by `python -m benchmarks.studies.results`, from a store of "
        f"{len(store.id):,} hosts and {len(store.rows):,} PDFs with defects. "
        "Scores of the test part, mean ± standard deviation over as many of the seeds "
        f"{', '.join(map(str, seeds))} as are done; a seed stands for split, weights and draws. "
        "[protocol.md](protocol.md) says what the splits are; results.json has all scores.",
        "## Networks",
        _table(
            ("split", "scaling", "draws", "recipe", "seeds", *SCORES),
            [
                *((*line, str(len(tests[line])), *_scores(tests[line])) for line in others),
                (*STUDY, *STUDY_SCORES),
            ],
        ),
        "The row split has the test hosts in training, and is for comparison with the study only.",
        "## One space group left out",
        _table(
            ("group", "scaling", "draws", "seeds", *SCORES, "refused", "by fits"),
            [
                (
                    line.split.partition(":")[2],
                    *line[1:3],
                    str(len(tests[line])),
                    *_scores(tests[line]),
                    mean_and_deviation([look["refused"] for look in of_line(line)]),
                    mean_and_deviation([look["fit"]["accuracy"] for look in of_line(line)]),
                )
                for line in left_out
            ],
        ),
        "Refused is the part of the PDFs that the first seed's network calls strange. Fits, as in "
        "the next table, know the host's structure and no training, so no group is new to them.",
        "## Fractions of defects",
        "Of the networks above, and of fits of each kind's mean G(r) in the known host "
        "(`defectpdf evaluate --fit`), which no training goes into: kind and element named "
        "right, mean absolute error of the fraction, in defects per 100 host atoms, and how often "
        "it is within the standard deviation given. The PDFs have no noise.",
        _table(
            ("by", "split", "scaling", "seeds", "kind", "element", "error", *KINDS, "within"),
            [
                row
                for line in dict.fromkeys(run.line for run in looks)
                for row in (
                    _fraction_row("network", line, tests[line]),
                    _fraction_row("fit", line, [look["fit"] for look in of_line(line)]),
                )
            ],
        ),
        "## Baselines",
        "scikit-learn's classifiers by host, shared scaling, on the store's variants "
        "(`defectpdf baselines --recipe ideal`).",
        _table(("method", "seeds", *SCORES, "seconds"), _baseline_rows(baselines)),
        "## Distance of the test hosts to the nearest training host",
        "Of pristine G(r), relative, over all seeds' runs; training hosts nearer than "
        f"{LOOKALIKE:.0%} to a held-out one are left out of training, but by row.",
        _table(
            ("split", "test hosts", "of these in training", "least", "5 %", "median"),
            [
                _leakage_row(
                    split, [run.metrics["test"] for run in runs if run.line.split == split]
                )
                for split in splits
            ],
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _scores(tests: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    if not tests:
        return (NOT_RUN, "", "", "")
    return (
        mean_and_deviation([of["accuracy"] for of in tests]),
        mean_and_deviation([of["top2"] for of in tests]),
        mean_and_deviation([of["calibration"]["ece"] for of in tests]),
        _range([of["n"] for of in tests]),
    )


def _fraction_row(by: str, line: Line, scores: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    fractions = [of["fraction"] for of in scores]
    by_class = [of["mae_per_class"] for of in fractions]
    return (
        by,
        line.split,
        line.scaling,
        str(len(scores)),
        mean_and_deviation([of["accuracy"] for of in scores]),
        mean_and_deviation(
            [known for of in scores if (known := of.get("element_accuracy")) is not None]
        ),
        mean_and_deviation([of["mae"] for of in fractions]),
        *(mean_and_deviation([of[kind] for of in by_class if kind in of]) for kind in KINDS),
        mean_and_deviation([of["within_one_deviation"] for of in fractions]),
    )


def _baseline_rows(baselines: Sequence[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    if not baselines:
        return [(NOT_RUN, "", "", "", "", "", "")]
    rows = []
    for name in baselines[0]["methods"]:
        tests = [of[name] for found in baselines if name in (of := found["methods"])]
        seconds = statistics.mean(of["seconds"] for of in tests)
        rows.append((name, str(len(tests)), *_scores(tests), f"{seconds:.0f}"))
    return rows


def _leakage_row(split: str, tests: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    if not tests:
        return (split, NOT_RUN, "", "", "", "")
    leakage = [of["leakage"] for of in tests]
    nearest = [of["nearest_training_host"] for of in leakage]
    return (
        split,
        _range([of["hosts"] for of in leakage]),
        _range([of["hosts_in_training"] for of in leakage]),
        f"{100 * min(of['0 %'] for of in nearest):.1f} %",
        f"{100 * statistics.mean(of['5 %'] for of in nearest):.1f} %",
        f"{100 * statistics.mean(of['50 %'] for of in nearest):.1f} %",
    )


def mean_and_deviation(values: Sequence[float]) -> str:
    """In percent; the sample's standard deviation, where there are two or more; "" of none."""
    if not values:
        return ""
    mean = f"{100 * statistics.mean(values):.2f}"
    if len(values) < 2:
        return f"{mean} %"
    return f"{mean} ± {100 * statistics.stdev(values):.2f} %"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
