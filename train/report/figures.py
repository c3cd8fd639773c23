"""How figures look and are written, and those that reports of any problem have."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pdfcalc.files import require_place, write_atomically

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
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 4 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion on the test part")
    figure.colorbar(image, label="fraction of the true class", shrink=0.8)
    return figure


def learning_figure(history: Sequence[dict[str, float]]) -> Figure:
    """Losses, and beside them whatever else the validation part was scored by."""
    epoch = [record["epoch"] for record in history]
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    marker = "o" if len(epoch) == 1 else ""
    for name, key in (("training", "train_loss"), ("validation", "val_loss")):
        left.plot(epoch, [record[key] for record in history], label=name, marker=marker)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
    left.set(title="Loss", yscale="log")
    left.legend()
    scores = [key for key in history[0] if key.startswith("val_") and key != "val_loss"]
    for place, key in enumerate(scores, 1):
        name = key.removeprefix("val_").replace("_", " ")
        values = [record[key] for record in history]
        right.plot(epoch, values, color=COLOURS[place % len(COLOURS)], label=name, marker=marker)
    right.set_title("Validation part")
    if scores:
        right.legend()
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
