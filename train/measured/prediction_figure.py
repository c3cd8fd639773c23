"""The figure of a prediction: data, host, what parts them, and the likely defect's best fit."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defectgen.hosts.cif import printable
from train.measured.prediction import Prediction
from train.report.figures import COLOURS, INK, as_drawn, report_style, to_svg
from train.runs.rundir import write_text


def write_figure(found: Prediction, folder: Path) -> Path:
    """Write FOLDER/NAME.svg, by the name of the measured file; its path. FOLDER exists."""
    path = folder / f"{found.file.stem}.svg"
    with report_style():
        write_text(path, to_svg(prediction_figure(found)))
    return path


def prediction_figure(found: Prediction) -> Figure:
    """Traces, what parts them, and the probabilities of the classes."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplot_mosaic(
        [["traces", "classes"], ["change", "classes"]], width_ratios=[3, 1]
    )
    _plot_traces(axes["traces"], found)
    _plot_change(axes["change"], found)
    _plot_classes(axes["classes"], found)
    return figure


def _plot_traces(axes: Axes, found: Prediction) -> None:
    seen = found.opinion
    inside = seen.calculated != 0
    axes.plot(seen.r[inside], seen.measured[inside], ".", ms=2.5, color=INK, label="measured")
    axes.plot(seen.r[inside], seen.calculated[inside], lw=0.9, label="host, refined")
    name = printable(Path(found.file.name)).replace("$", r"\$")
    title = f"{name}: Rw {found.refinement.rw:.3f}"
    axes.set(ylabel="G (Å$^{-2}$)", title=title)
    axes.legend(fontsize="small", ncols=2)


def _plot_change(axes: Axes, found: Prediction) -> None:
    seen = found.opinion
    inside = seen.calculated != 0
    change = (seen.measured - seen.calculated)[inside]
    axes.plot(seen.r[inside], change, lw=0.9, color=COLOURS[2], label="measured - host")
    if fit := found.fits.get(found.most_likely):
        label = f"best fit of {as_drawn(found.most_likely)}"
        axes.plot(seen.r[inside], fit.change[inside], lw=0.9, color=COLOURS[3], label=label)
    axes.axhline(0, lw=0.5, color=INK)
    axes.set(xlabel="r (Å)", ylabel="ΔG (Å$^{-2}$)")
    axes.legend(fontsize="small", ncols=2)


def _plot_classes(axes: Axes, found: Prediction) -> None:
    names = [as_drawn(name).replace("+", "\n+ ") for name in found.probabilities]
    axes.barh(names, [100 * p for p in found.probabilities.values()], color=COLOURS[0])
    axes.invert_yaxis()
    title = f"verdict: {as_drawn(found.verdict)}"
    axes.set(xlabel="probability (%)", xlim=(0, 100), title=title)
