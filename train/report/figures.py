"""Figures of the report, from arrays; and a figure as inline SVG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from train.runs.rundir import require_place, write_atomically

# Okabe and Ito's colours, which readers with any colour vision can tell apart.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
FORMATS = (".svg", ".png")
INK = "#010203"  # stands for the page's text colour, so that a figure follows a dark page
STYLE = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": "medium",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9,
    "legend.frameon": False,
    "svg.hashsalt": "defectpdf",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def report_style() -> Iterator[None]:
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def require_figure_path(path: Path) -> None:
    """ValueError, before minutes of work, if a figure can't be written there."""
    if path.suffix not in FORMATS:
        raise ValueError(f"{path}: a figure's name must end in {' or '.join(FORMATS)}")
    require_place(path)


def write_figure(draw: Callable[[], Figure], path: Path) -> None:
    """Write what `draw` returns, in the format of the name's ending, on white."""
    form = path.suffix.removeprefix(".")
    metadata = {"Date": None} if form == "svg" else None
    with report_style(), matplotlib.rc_context({"savefig.facecolor": "white"}):
        figure = draw()
        write_atomically(
            path, lambda beside: figure.savefig(beside, format=form, dpi=100, metadata=metadata)
        )


def to_svg(figure: Figure) -> str:
    """The figure as an <svg> element in the page's text colour."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue().replace(INK, "currentColor")
    return text[text.index("<svg") :]


def as_drawn(name: str) -> str:
    """A name that comes from data, in words: matplotlib would take what is between $ for a formula,
    and leave out of legends what begins with _."""
    return name.replace("_", "-").replace("$", r"\$")


def confusion_figure(confusion: np.ndarray, classes: Sequence[str]) -> Figure:
    """(C, C) counts of true (row) against predicted class, shaded by the fraction of the row."""
    fraction = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    size = max(1, len(classes) / 5)
    figure = Figure(figsize=(5.2 * size, 4.2 * size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(fraction, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        shade = fraction[row, column]
        text = f"{count}\n{100 * shade:.1f} %"
        colour = "#ffffff" if shade > 0.5 else "#000000"
        axes.text(column, row, text, ha="center", va="center", color=colour)
    names = [as_drawn(name).replace("-", "-\n").replace("+", "\n+ ") for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 5 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion on the test part")
    figure.colorbar(image, label="fraction of the true class", shrink=0.8)
    return figure


def learning_figure(history: Sequence[dict[str, float]]) -> Figure:
    epoch = [record["epoch"] for record in history]
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    marker = "o" if len(epoch) == 1 else ""
    for name, key in (("training", "train_loss"), ("validation", "val_loss")):
        left.plot(epoch, [record[key] for record in history], label=name, marker=marker)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set(xlabel="epoch", ylabel="weighted cross entropy", title="Loss", yscale="log")
    left.legend()
    accuracy = [100 * record["val_accuracy"] for record in history]
    right.plot(epoch, accuracy, color=COLOURS[1], marker=marker)
    right.set(xlabel="epoch", ylabel="accuracy (%)", title="Validation accuracy")
    return figure


def binned_accuracy(
    value: np.ndarray, correct: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bin index, accuracy and counts of the bins [edges[k], edges[k+1]) that hold anything."""
    place = np.digitize(value, edges) - 1
    inside = (place >= 0) & (place < len(edges) - 1)
    counts = np.bincount(place[inside], minlength=len(edges) - 1)
    right = np.bincount(place[inside], weights=correct[inside], minlength=len(edges) - 1)
    filled = np.flatnonzero(counts)
    return filled, right[filled] / counts[filled], counts[filled]


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


def example_figure(r: np.ndarray, examples: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> Figure:
    """Rows of (title, pristine G, defective G): both traces, and their difference beside them."""
    figure = Figure(figsize=(8, 1.9 * len(examples)), layout="constrained")
    rows = figure.subplots(len(examples), 2, sharex=True, squeeze=False)
    for (left, right), (title, pristine, defective) in zip(rows, examples, strict=True):
        left.plot(r, pristine, lw=0.9, label="pristine")
        left.plot(r, defective, lw=0.9, label="defective")
        left.set(ylabel="G (Å$^{-2}$)", title=title)
        right.plot(r, defective - pristine, lw=0.9, color=COLOURS[2])
        right.axhline(0, lw=0.5, color=INK)
        right.set(ylabel="ΔG (Å$^{-2}$)", title="defective - pristine")
    rows[0, 0].legend(fontsize="small", ncols=2)
    for axes in rows[-1]:
        axes.set_xlabel("r (Å)")
    return figure


def histogram_figure(values: dict[str, np.ndarray], bins: Any, label: str, title: str) -> Figure:
    figure = Figure(figsize=(5.2, 2.8), layout="constrained")
    axes = figure.add_subplot()
    for name, value in values.items():
        axes.hist(value, bins, histtype="step", label=as_drawn(name), lw=1.3)
    axes.set(xlabel=label, ylabel="PDFs", title=title)
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
