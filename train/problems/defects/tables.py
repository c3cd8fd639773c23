"""What the commands print of the defects problem: tables and lines on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.table import Column, Table

from hpc.watching.console import plain_console
from train.problems.defects.trace import Trace

if TYPE_CHECKING:
    from rich.console import Console

_ABREAST = 4  # classes in a table, for which a terminal has room


def print_explanation(summary: dict, title: str) -> None:
    console, names = plain_console(), list(summary["per_class"])
    for start in range(0, len(names), _ABREAST):
        _print_parts(console, summary, names[start : start + _ABREAST], title)
    error = summary["completeness"]
    console.print(
        f"PDFs {summary['n']}; sums over {summary['along']} miss the log-odds by "
        f"{error['mean_error']:.2f} of {error['mean_gain']:.1f} nats on average"
    )


def _print_parts(console: Console, summary: dict, names: list[str], title: str) -> None:
    """The tables of an explanation for some of its classes."""
    per_class = [summary["per_class"][name] for name in names]
    table = _class_columns(names, f"{title}: % of points | change | attribution")
    for region in per_class[0]["regions"]:
        cells = (of["regions"][region].values() for of in per_class)
        table.add_row(region, *(" | ".join(f"{100 * x:.0f}" for x in cell) for cell in cells))
    for key, heading in (("gain", "sum (nats)"), ("absolute", "absolute sum")):
        table.add_row(heading, *(f"{of[key]:.1f}" for of in per_class))
    console.print(table)
    for how, parts in summary["accuracy"].items():
        table = _class_columns(names, f"accuracy (%) with the change {how}")
        for part, of in parts.items():
            table.add_row(part, *(f"{100 * of[name]:.1f}" for name in names))
        console.print(table)


def _class_columns(names: list[str], title: str) -> Table:
    table = Table(Column("region", no_wrap=True), title=title, box=SIMPLE)
    for name in names:
        table.add_column(name.replace("_", " ").replace("+", " + "), justify="right")
    return table


def print_baselines(found: dict) -> None:
    title = f"{found['split']} split, {found['scaling']} scaling, seed {found['seed']}, test part"
    table = Table(Column("method", no_wrap=True), title=title, box=SIMPLE)
    for heading in ("accuracy", "top-2", "calibration error", found["title"], "seconds"):
        table.add_column(heading, justify="right")
    for name, of in found["methods"].items():
        rates = of["accuracy"], of["top2"], of["calibration"]["ece"]
        table.add_row(name, *(f"{x:.4f}" for x in rates), str(of["n"]), f"{of['seconds']:.1f}")
    plain_console().print(table)


def print_robustness(found: dict) -> None:
    table = Table("quantity", title=f"{found['part']} part, fresh defects", box=SIMPLE)
    for heading in ("value", "accuracy", "top-2", "calibration error"):
        table.add_column(heading, justify="right")
    table.add_column("trained on")
    for name, quantity in found["quantities"].items():
        low, high = quantity["trained"]
        for row, scores in enumerate(quantity["scores"]):
            value = scores["value"]
            rates = (f"{scores[key]:.4f}" for key in ("accuracy", "top2", "ece"))
            is_trained = "yes" if low <= value <= high else ""
            table.add_row("" if row else name, f"{value:.4g}", *rates, is_trained)
        table.add_section()
    console = plain_console()
    console.print(table)
    console.print(f"{found['run']}, {found['n']} PDFs for each value")


def _kind_table(of_kinds: dict, trace: Trace) -> Table:
    table = Table("kind", title="each kind, whatever else is there", box=SIMPLE)
    for heading in (f"part of {trace.title}", "precision", "recall", "F1", "AUROC"):
        table.add_column(heading, justify="right")
    for kind, scores in of_kinds.items():
        shown = ("-" if value is None else f"{value:.3f}" for value in scores.values())
        table.add_row(kind, *shown)
    return table


def print_scores(scores: dict, title: str, trace: Trace) -> None:
    names = list(scores["per_class"])
    rates = Table("class", title=title, box=SIMPLE)
    confusion = Table("true class", title="predicted as", box=SIMPLE)
    for heading in ("precision", "recall", "F1", trace.title):
        rates.add_column(heading, justify="right")
    of_kinds = scores.get("per_kind", {})
    # Names of ten sets are too long for the heads of a table.
    heads = [str(number) for number in range(1, len(names) + 1)] if of_kinds else names
    for head in heads:
        confusion.add_column(head.replace("_", " "), justify="right")
    for head, name, counts in zip(heads, names, scores["confusion"], strict=True):
        of = scores["per_class"][name]
        of_class = [f"{of[key]:.3f}" for key in ("precision", "recall", "f1")]
        rates.add_row(f"{head} {name}" if of_kinds else name, *of_class, str(of["n"]))
        confusion.add_row(head, *map(str, counts))
    console = plain_console()
    console.print(rates, confusion)
    if of_kinds:
        console.print(_kind_table(of_kinds, trace))
    console.print(
        f"accuracy {scores['accuracy']:.4f}  top-2 {scores['top2']:.4f}  "
        f"{trace.title} {scores['n']}  "
        f"expected calibration error {scores['calibration']['ece']:.4f}"
    )
    if estimate := scores.get("fraction"):
        console.print(
            f"fraction of defects: mean absolute error {100 * estimate['mae']:.2f} % of the host's "
            f"atoms, {estimate['within_one_deviation']:.1%} within one standard deviation"
        )
    if fit := scores.get("fit"):
        of_fraction, element = fit["fraction"], fit["element_accuracy"]
        of_element = "" if element is None else f", element right for {element:.1%}"
        console.print(
            f"fit of {fit['n']} PDFs: kind right for {fit['accuracy']:.1%}{of_element}; fraction's "
            f"mean absolute error {100 * of_fraction['mae']:.2f} % of the host's atoms, "
            f"{of_fraction['within_one_deviation']:.1%} within one standard deviation"
        )
    if leakage := scores.get("leakage"):
        nearest = leakage["nearest_training_host"]
        console.print(
            f"hosts {leakage['hosts']}, also in training {leakage['hosts_in_training']}; distance "
            f"of pristine {trace.quantity} to the nearest training host: least "
            f"{nearest['0 %']:.1%}, median {nearest['50 %']:.1%}"
        )
    if novelty := scores.get("novelty"):
        table = Table("space group", title="nearest training host, medians", box=SIMPLE)
        for heading in ("hosts", "as it is", f"stretched by up to {novelty['stretch']:.0%}"):
            table.add_column(heading, justify="right")
        for name, of in novelty["groups"].items():
            distances = (of[key] for key in ("nearest", "nearest_stretched"))
            table.add_row(name, str(of["hosts"]), *(f"{x:.1%}" for x in distances))
        console.print(table)
