"""Figures of the defects problem, from arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.problems.defects.trace import Trace
from train.report.figures import COLOURS, INK, as_drawn, binned_accuracy


def accuracy_figure(
    concentration: np.ndarray,
    charge_step: np.ndarray,
    label: np.ndarray,
    correct: np.ndarray,
    classes: Sequence[str],
) -> Figure:
    """Accuracy against concentration (fraction) and |Z host - Z impurity| (0: no impurity)."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    edges = np.linspace(0, max(0.1, concentration.max()) * 1.0001, 9)
    for index, name in enumerate(classes):
        of = label == index
        _plot_bins(left, concentration[of], correct[of], edges, 100 * edges, _line(index, name))
    left.set(xlabel="defects per host atom (%)", ylabel="accuracy (%)", title="By concentration")
    left.set_ylim(-3, 103)
    steps = np.array([1, 2, 3, 4, 6, 9, 16, 31, 200])
    for index, name in enumerate(classes):
        of = (label == index) & (charge_step > 0)
        if of.any():
            slots = np.arange(len(steps))
            _plot_bins(right, charge_step[of], correct[of], steps, slots, _line(index, name))
    names = [f"{a}" if b == a + 1 else f"{a}-{b - 1}" for a, b in pairwise(steps)]
    names[-1] = f"≥{steps[-2]}"
    right.set_xticks(np.arange(len(names)) + 0.5, names)
    right.set(xlabel="|Z host - Z impurity|", title="By the impurity's distance in Z")
    lines = left.get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=4, fontsize="small")
    return figure


def _plot_bins(
    axes: Axes,
    value: np.ndarray,
    correct: np.ndarray,
    edges: np.ndarray,
    shown: np.ndarray,
    line: dict[str, Any],
) -> None:
    """Accuracy with standard errors (Agresti and Coull, 1998), drawn with `edges` at `shown`."""
    filled, accuracy, counts = binned_accuracy(value, correct, edges)
    shrunk = (accuracy * counts + 2) / (counts + 4)
    error = 100 * np.sqrt(shrunk * (1 - shrunk) / (counts + 4))
    centre = (shown[filled] + shown[filled + 1]) / 2
    axes.errorbar(centre, 100 * accuracy, error, marker="o", ms=3, capsize=2, lw=1, **line)


def _line(index: int, name: str) -> dict[str, Any]:
    again, colour = divmod(index, len(COLOURS))
    style = "--" if again else "-"
    return {"color": COLOURS[colour], "ls": style, "label": as_drawn(name)}


def example_figure(
    trace: Trace, points: np.ndarray, examples: Sequence[tuple[str, np.ndarray, np.ndarray]]
) -> Figure:
    """Rows of (title, host, sample): both traces, and their difference beside them."""
    figure = Figure(figsize=(8, 1.9 * len(examples)), layout="constrained")
    rows = figure.subplots(len(examples), 2, sharex=True, squeeze=False)
    for (left, right), (title, host, sample) in zip(rows, examples, strict=True):
        left.plot(points, host, lw=0.9, label="host")
        left.plot(points, sample, lw=0.9, label="sample")
        left.set(ylabel=trace.label, title=title)
        right.plot(points, sample - host, lw=0.9, color=COLOURS[2])
        right.axhline(0, lw=0.5, color=INK)
        right.set(ylabel=trace.change_label, title="sample - host")
    rows[0, 0].legend(fontsize="small", ncols=2)
    for axes in rows[-1]:
        axes.set_xlabel(trace.axis_label)
    return figure


def histogram_figure(
    values: dict[str, np.ndarray], bins: Any, label: str, counted: str, title: str
) -> Figure:
    figure = Figure(figsize=(5.2, 2.8), layout="constrained")
    axes = figure.add_subplot()
    for name, value in values.items():
        axes.hist(value, bins, histtype="step", label=as_drawn(name), lw=1.3)
    axes.set(xlabel=label, ylabel=counted, title=title)
    axes.legend(fontsize="small", loc="lower center", ncols=2)
    return figure


_ROBUSTNESS_AXES = {
    "noise": (100, "noise (% of the largest |G|)"),
    "scale": (100, "scale error (%)"),
    "rmax": (1, "rmax (Å)"),
    "qmax": (1, "qmax (Å$^{-1}$)"),
    "qdamp": (1, "qdamp (Å$^{-1}$)"),
    "qbroad": (1, "qbroad (Å$^{-1}$)"),
    "uiso": (1, "Uiso / the host's"),
    "strain": (100, "strain (%)"),
}
"""Factor and label of the quantities of `train.problems.defects.robustness`."""


def robustness_figure(quantities: dict[str, dict[str, Any]]) -> Figure:
    """A panel for each quantity of `train.problems.defects.robustness.measure_robustness`."""
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    panels = figure.subplots(2, -(-len(quantities) // 2), sharey=True, squeeze=False)
    lines = (("accuracy", "accuracy"), ("top2", "top-2"), ("ece", "calibration error"))
    for axes, (name, found) in zip(panels.flat, quantities.items(), strict=False):
        factor, label = _ROBUSTNESS_AXES[name]
        low, high = (factor * end for end in found["trained"])
        axes.axvspan(low, high, color=COLOURS[5], alpha=0.25, label="trained on")
        axes.axvline(factor * found["store"], color=INK, lw=0.6, ls=":", label="the store's")
        value = [factor * scores["value"] for scores in found["scores"]]
        for key, shown in lines:
            percent = [100 * scores[key] for scores in found["scores"]]
            axes.plot(value, percent, marker="o", ms=3, lw=1, label=shown)
        axes.set(xlabel=label, ylim=(-3, 103))
    for axes in panels[:, 0]:
        axes.set_ylabel("%")
    figure.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure
