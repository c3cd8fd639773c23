"""The figure of a prediction: data, host, what parts them, and what the likely defect would do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defectgen.elements import metals
from defectgen.host import Host
from defectgen.settings import KIND_SETS, DefectSettings, kinds_named
from hpc.description import PDFSettings
from hpc.streaming import VariantStream
from train.figures import COLOURS, INK, report_style, to_svg
from train.prediction import Prediction
from train.rundir import RunConfig, read_config

_DRAWS = 24  # whose mean is shown
_SPREAD = 0.005  # of the fraction among them, so that it is that of some number of atoms


def write_figure(run: Path, found: Prediction, folder: Path) -> Path:
    """Write FOLDER/NAME.svg, by the name of the measured file; its path."""
    config = read_config(run)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{found.file.stem}.svg"
    with report_style():
        path.write_text(to_svg(prediction_figure(config, found)), encoding="utf-8")
    return path


def prediction_figure(config: RunConfig, found: Prediction) -> Figure:
    """Traces, what parts them, and the probabilities of the classes."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplot_mosaic(
        [["traces", "classes"], ["change", "classes"]], width_ratios=[3, 1]
    )
    _plot_traces(axes["traces"], found)
    _plot_change(axes["change"], config, found)
    _plot_classes(axes["classes"], found)
    return figure


def _plot_traces(axes: Axes, found: Prediction) -> None:
    inside = found.calculated != 0
    axes.plot(found.r[inside], found.measured[inside], ".", ms=2.5, color=INK, label="measured")
    axes.plot(found.r[inside], found.calculated[inside], lw=0.9, label="host, refined")
    title = f"{found.file.name}: Rw {found.refinement.rw:.3f}".replace("$", r"\$")
    axes.set(ylabel="G (Å$^{-2}$)", title=title)
    axes.legend(fontsize="small", ncols=2)


def _plot_change(axes: Axes, config: RunConfig, found: Prediction) -> None:
    inside = found.calculated != 0
    change = (found.measured - found.calculated)[inside]
    axes.plot(found.r[inside], change, lw=0.9, color=COLOURS[2], label="measured - host")
    if (expected := expected_change(config, found)) is not None:
        label = f"expected of {found.most_likely.replace('_', '-')}"
        axes.plot(found.r[inside], expected[inside], lw=0.9, color=COLOURS[3], label=label)
    axes.axhline(0, lw=0.5, color=INK)
    axes.set(xlabel="r (Å)", ylabel="ΔG (Å$^{-2}$)")
    axes.legend(fontsize="small", ncols=2)


def _plot_classes(axes: Axes, found: Prediction) -> None:
    names = [name.replace("_", "-").replace("+", "\n+ ") for name in found.probabilities]
    axes.barh(names, [100 * p for p in found.probabilities.values()], color=COLOURS[0])
    axes.invert_yaxis()
    title = f"verdict: {found.verdict.replace('_', '-')}"
    axes.set(xlabel="probability (%)", xlim=(0, 100), title=title)


def expected_change(config: RunConfig, found: Prediction) -> np.ndarray | None:
    """(R,) mean change of G(r) by the most likely defect as estimated, in the refined host, 1/A^2.

    What a refinement would take up of it is left out, as in the run's training. Of two kinds, both
    are about as many. None where no defect is likely or nothing is known of its fraction, or the
    host is out of scope.
    """
    kinds, host = kinds_named(found.most_likely), found.host
    if host is None or not kinds or found.fraction is None or config.instrument is None:
        return None
    settings = _settings(host, kinds, found.fraction[0], found.elements)
    stream = VariantStream([host], settings, _instrument(config, found))
    rows = np.zeros(1 + _DRAWS, dtype=np.int64)
    label = np.where(np.arange(1 + _DRAWS), KIND_SETS.index(kinds), 0)
    g, _ = stream.sample(rows, label, torch.arange(1 + _DRAWS))
    pristine, mean = g[:1], g[1:].mean(0, keepdim=True)
    if config.recipe.absorbed:
        mean = config.inputs.refined(pristine, mean)
    return (mean - pristine)[0].numpy()


def _settings(
    host: Host, kinds: tuple[str, ...], fraction: float, elements: tuple[str, ...]
) -> DefectSettings:
    low, high = DefectSettings().fraction
    fraction = float(np.clip(fraction, low, 2 * high))
    # The lowest is that of each kind, the highest that of all together.
    lowest = max((fraction - _SPREAD) / len(kinds), 1e-3)
    # Of two impurities one is the host's element, which is never drawn.
    foreign = elements[0] if elements else next(e for e in metals() if e != host.element)
    return DefectSettings(
        kinds=kinds,
        mixed_variants=len(kinds) - 1,
        fraction=(lowest, fraction + len(kinds) * _SPREAD),
        impurities=(foreign, host.element),
    )


def _instrument(config: RunConfig, found: Prediction) -> PDFSettings:
    refined = found.refinement.parameters
    names = ("qmin", "qmax", "qdamp", "qbroad", "scattering")
    return PDFSettings(**(config.instrument or {}) | {n: getattr(refined, n) for n in names})
