"""The figure of an explanation: attributions averaged by class and structure type."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.problems.defects.attributions_by_class import Attributions, shares
from train.report.figures import COLOURS, INK, as_drawn

STRUCTURE_TYPES = 3
BIN, FIRST, LAST = 0.05, 0.4, 5.5  # in units of the hosts' landmarks
LABELS = {"r": "r / distance of nearest neighbours", "q": "Q / Q of the first reflection"}
LINES = {"r": "|ΔG|", "q": "|ΔF|"}


def attribution_figure(explanation: Attributions) -> Figure:
    """A row for each class, a column for each of the commonest structure types.

    The signed mean as a line, the absolute one as an area, the size of the change as a thin line,
    all as fractions of a row's absolute sum; below, where the landmarks of one of the hosts are,
    that with the middle c/a.
    """
    types = explanation.structure_types(STRUCTURE_TYPES)
    classes = explanation.shown
    figure = Figure(figsize=(4 * len(types), 1.9 * len(classes) + 0.5), layout="constrained")
    grid = figure.subplots(len(classes), len(types), sharex=True, sharey="row", squeeze=False)
    for line, (name, of) in zip(grid, classes.items(), strict=True):
        line[0].set_ylabel(f"{as_drawn(name)}\nshare (%)")
        for axes, hosts in zip(line, types.values(), strict=True):
            rows = np.flatnonzero(of & np.isin(explanation.place, hosts))
            if len(rows):
                _draw_means(axes, explanation, rows)
            _draw_landmarks(axes, explanation, hosts)
            axes.set_xlim(FIRST, LAST)
    for axes, kind in zip(grid[0], types, strict=True):
        axes.set_title(f"space group {as_drawn(kind)}")
    for axes in grid[-1]:
        axes.set_xlabel(LABELS[explanation.along])
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def _draw_means(axes: Axes, explanation: Attributions, rows: np.ndarray) -> None:
    units = np.array([marks.unit for marks in explanation.landmarks])[explanation.place[rows]]
    at = explanation.points / units[:, None]
    edges = np.arange(FIRST, LAST + BIN, BIN)
    absolute = shares(explanation.attribution[rows])
    signed = np.sign(explanation.attribution[rows]) * absolute
    absolute, signed, change = (
        100 * np.histogram(at, edges, weights=values)[0] / len(rows)
        for values in (absolute, signed, shares(explanation.change[rows]))
    )
    axes.stairs(absolute, edges, fill=True, color="#d0d0d0", label="absolute attribution")
    axes.stairs(signed, edges, baseline=None, color=COLOURS[0], lw=1, label="signed attribution")
    axes.stairs(change, edges, baseline=None, color=INK, lw=0.5, label=LINES[explanation.along])
    axes.axhline(0, lw=0.5, color=INK)


def _draw_landmarks(axes: Axes, explanation: Attributions, hosts: list[int]) -> None:
    by_ratio = sorted(hosts, key=lambda k: explanation.hosts[k].c / explanation.hosts[k].a)
    marks = explanation.landmarks[by_ratio[len(hosts) // 2]]
    for colour, (low, high), (kind, positions) in zip(
        (COLOURS[3], COLOURS[2]), ((0, 0.05), (0.05, 0.1)), marks.positions.items(), strict=True
    ):
        at = positions / marks.unit
        at = at[(at > FIRST) & (at < LAST)]
        axes.vlines(at, low, high, colour, lw=1, transform=axes.get_xaxis_transform(), label=kind)
