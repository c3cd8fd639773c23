"""Tables and figure of the identifiability study, from its rows and who said what of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import Row, Tables
from benchmarks.studies.error_study import Noise, Rows
from defectgen.point_defects.settings import KINDS
from train.report.figures import COLOURS, binned_accuracy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASS, FRACTION = "Errors by class, %", "Errors by fraction of defects, %"
CONTRAST = "Errors on interstitial impurities by |Z_impurity - Z_host|, %"
UISO = "Errors on interstitial impurities by Uiso over the host's, %"
SUPERCELL = "Errors by conventional cells along each axis, %"
NOISE, RECALL = "Accuracy by noise, %", "Recall by class and noise, %"
LIMIT_CONTRAST = "Errors of the limit, scale known, on interstitial impurities by contrast, %"
FRACTIONS = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10.001]) / 100
CONTRASTS = np.array([1, 2, 3, 4, 6, 10, 20, 40, 120])
UISO_RATIOS = np.array([0, 0.5, 0.8, 0.95, 1.05, 1.25, 2, 1000])
INTERSTITIAL = KINDS.index("interstitial")
Predictions = Mapping[str, np.ndarray]


def network_tables(
    rows: Rows, said: Predictions, by_supercell: Mapping[int, tuple[Rows, Predictions]]
) -> Tables:
    """Error rates of networks on fresh draws, in percent."""
    guest = rows.kind == INTERSTITIAL
    impurities = {name: kind[guest] for name, kind in said.items()}
    contrast, ratio = rows.contrast[guest], rows.uiso_ratio[guest]
    truth = rows.kind[guest]
    by_class = [
        {"class": kind.replace("_", "-")} | _errors(rows.kind, said, rows.kind == index)
        for index, kind in enumerate(KINDS)
    ]
    every = np.ones(len(rows.kind), dtype=bool)
    return {
        CLASS: [*by_class, {"class": "all"} | _errors(rows.kind, said, every)],
        FRACTION: _binned(rows.kind, said, rows.fraction, FRACTIONS, _percent(FRACTIONS)),
        CONTRAST: _binned(truth, impurities, contrast, CONTRASTS, whole_ranges(CONTRASTS)),
        UISO: _binned(truth, impurities, ratio, UISO_RATIOS, _ranges(UISO_RATIOS)),
        SUPERCELL: [
            {"cells": f"{size}"} | _errors(some.kind, says, np.ones(len(some.kind), dtype=bool))
            for size, (some, says) in by_supercell.items()
        ],
    }


def limit_tables(rows: Sequence[Rows], said: Sequence[Mapping[Noise, Predictions]]) -> Tables:
    """Accuracies on the draws of single hosts, in percent, by noise."""
    kind = np.concatenate([some.kind for some in rows])
    contrast = np.concatenate([some.contrast for some in rows])
    pooled = {
        noise: {name: np.concatenate([of[noise][name] for of in said]) for name in said[0][noise]}
        for noise in said[0]
    }
    accuracy: list[Row] = []
    recall: list[Row] = []
    for noise, says in pooled.items():
        right = {name: of == kind for name, of in says.items()}
        means = {name: 100 * float(of.mean()) for name, of in right.items()}
        accuracy.append({"noise": str(noise), "n": len(kind)} | means)
        for index, of_kind in enumerate(KINDS):
            its = {name: 100 * float(of[kind == index].mean()) for name, of in right.items()}
            recall.append({"noise": str(noise), "class": of_kind.replace("_", "-")} | its)
    guest = kind == INTERSTITIAL
    known = {str(noise): says["limit, scale known"][guest] for noise, says in pooled.items()}
    ranges = whole_ranges(CONTRASTS)
    by_contrast = _binned(kind[guest], known, contrast[guest], CONTRASTS, ranges)
    return {NOISE: accuracy, RECALL: recall, LIMIT_CONTRAST: by_contrast}


def _errors(kind: np.ndarray, said: Predictions, chosen: np.ndarray) -> Row:
    wrong = {name: (of != kind)[chosen].mean() for name, of in said.items()}
    return {"n": int(chosen.sum())} | {name: 100 * float(rate) for name, rate in wrong.items()}


def _binned(
    kind: np.ndarray,
    said: Predictions,
    value: np.ndarray,
    edges: np.ndarray,
    names: Sequence[str],
) -> list[Row]:
    """Error rates in the bins that hold anything."""
    rows: dict[int, Row] = {}
    for name, of in said.items():
        for place, accuracy, count in zip(*binned_accuracy(value, of == kind, edges), strict=True):
            row = rows.setdefault(int(place), {"range": names[place], "n": int(count)})
            row[name] = 100 * (1 - float(accuracy))
    return list(rows.values())


def whole_ranges(edges: np.ndarray) -> list[str]:
    names = [f"{a}" if b == a + 1 else f"{a} to {b - 1}" for a, b in pairwise(edges.tolist())]
    return [*names[:-1], f"from {edges[-2]}"]


def _ranges(edges: np.ndarray) -> list[str]:
    inner = [f"{a:g} to {b:g}" for a, b in pairwise(edges[1:-1].tolist())]
    return [f"below {edges[1]:g}", *inner, f"above {edges[-2]:g}"]


def _percent(edges: np.ndarray) -> list[str]:
    return [f"{a:.0f} to {b:.0f} %" for a, b in pairwise((100 * edges).tolist())]


def tables_page(content: Mapping[str, Any]) -> str:
    """Markdown of all tables."""
    runs = ", ".join(f"{name} ({scaling})" for name, scaling in content["runs"].items())
    sections = [
        "# Identifiability: tables",
        "Written by `python -m benchmarks.studies.identifiability`; "
        "[identifiability.md](identifiability.md) tells what they are and reads them. "
        f"Networks and their scaling: {runs}; {content['hosts']} test hosts, of which "
        f"{content['limit_hosts']} for the accuracies by noise.",
    ]
    for title, rows in content["tables"].items():
        lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
        cells = (" | ".join(map(_text, line)) for line in lines)
        sections += [f"## {title}", "\n".join(f"| {line} |" for line in cells)]
    return "\n\n".join(sections) + "\n"


def _text(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value).replace("|", "\\|")


def draw_figure(tables: Tables) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    by_noise = [row for row in tables[NOISE] if _is_of_largest(row["noise"])]
    by_contrast = [
        {name: value for name, value in row.items() if _is_of_largest(name)}
        for row in tables[LIMIT_CONTRAST]
    ]
    panels = (
        (tables[FRACTION], "range", "defects per host atom"),
        (tables[CONTRAST], "range", "|Z impurity - Z host|, interstitials"),
        (tables[UISO], "range", "Uiso over the host's, interstitials"),
        (tables[SUPERCELL], "cells", "conventional cells along each axis"),
        (by_contrast, "range", "|Z impurity - Z host|, interstitials"),
        (by_noise, "noise", "standard deviation of white noise"),
    )
    for ax, (rows, first, label) in zip(axes, panels, strict=True):
        _plot(ax, rows, first)
        ax.set(xlabel=label, ylabel="errors (%)", ylim=(0, None))
    axes[4].set_title("limit, scale known, by noise")
    axes[5].set(ylabel="accuracy (%)", ylim=(0, 103))
    for ax in axes[[0, 4, 5]]:
        ax.legend(fontsize="x-small")
    return figure


def _is_of_largest(noise: str) -> bool:
    return "root mean square" not in noise


def _plot(axes: Axes, rows: Sequence[Row], first: str) -> None:
    names = [name for name in rows[0] if name not in (first, "n")]
    # Networks first, so that they have the same colours in all panels.
    names.sort(key=lambda name: name.startswith("limit"))
    for place, name in enumerate(names):
        dash = "--" if name.startswith("limit") else "-"
        values = [row[name] for row in rows]
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(range(len(rows)), values, dash, marker="o", ms=3, color=colour, label=name)
    places = [row[first].removesuffix(" of the largest |G|") for row in rows]
    axes.set_xticks(range(len(rows)), places, rotation=45 if len(rows) > 4 else 0)
