"""Console commands of the trainer, for the `defectpdf` application and `python -m train`."""

from __future__ import annotations

import json as json_module
import signal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from train.prediction import Prediction


class RecipeName(StrEnum):
    default = "default"
    measured = "measured"
    reference = "reference"


class Scaling(StrEnum):
    shared = "shared"
    trace = "trace"


class Draws(StrEnum):
    store = "store"
    streaming = "streaming"


class Part(StrEnum):
    train = "train"
    val = "val"
    test = "test"


SplitOption = Annotated[
    str,
    typer.Option(
        metavar="host|element|space_group:N|row",
        help="What is held out together; `space_group:225` tests on group 225 alone. "
        "`row` leaks test hosts into training.",
    ),
]


def train(
    store: Annotated[Path, typer.Argument(help="Store of `defectpdf generate`.")],
    out: Annotated[Path, typer.Option(help="Run directory; an unfinished run continues.")],
    recipe: Annotated[RecipeName, typer.Option(help="Model and schedule.")] = RecipeName.default,
    split: SplitOption = "host",
    scaling: Annotated[
        Scaling | None, typer.Option(help="Scale of the traces; the recipe's if not given.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data; the recipe's if not given.")
    ] = None,
    draws: Annotated[
        Draws | None,
        typer.Option(help="Train on the store's variants, or on fresh ones in each epoch."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of split, weights, batches and draws.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another choice in place of the recipe's, such as batch_size=128; repeatable.",
        ),
    ] = None,
    snapshot_seconds: Annotated[
        float, typer.Option(min=0, help="Between snapshots, from which a killed run continues.")
    ] = 20.0,
    tensorboard: Annotated[
        bool, typer.Option(help="Write the learning curves for TensorBoard, too.")
    ] = False,
) -> None:
    """Train a network that names the defect type from a pair of PDFs."""
    from train.distributed import join_world
    from train.loop import fit
    from train.recipes import make_recipe, parse_setting

    changes = dict(map(parse_setting, settings or []))
    named = {"scaling": scaling and scaling.value, "draws": draws and draws.value, "epochs": epochs}
    changes |= {key: value for key, value in named.items() if value is not None}
    chosen = make_recipe(recipe.value, changes)
    with join_world() as world:
        metrics = fit(store, out, chosen, split, seed, world, snapshot_seconds, tensorboard)
        if metrics is None:
            raise typer.Exit(128 + signal.SIGTERM)
        if world.is_main:
            test = metrics["test"]
            typer.echo(
                f"test accuracy {test['accuracy']:.4f}, top-2 {test['top2']:.4f} "
                f"on {test['n']} PDFs ({split} split); model in {out}"
            )


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory of `defectpdf train`.")],
    store: Annotated[Path, typer.Argument(help="The store that the run was trained on.")],
    split: Annotated[Part, typer.Option(help="Part of the run's split.")] = Part.test,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a run's model: accuracy, top-2, per class, confusion, calibration."""
    from train.evaluation import predict_part

    scores = predict_part(run, store, split.value).score()
    if json:
        typer.echo(json_module.dumps(scores))
    else:
        _print_scores(scores, f"{run}, {split.value} part")


def baselines(
    store: Annotated[Path, typer.Argument(help="Store of `defectpdf generate`.")],
    split: SplitOption = "host",
    scaling: Annotated[Scaling, typer.Option(help="Scale of the traces.")] = Scaling.shared,
    seed: Annotated[int, typer.Option(min=0, help="Of split and methods.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score scikit-learn's classifiers as networks are: same splits, scaling and scores."""
    from train.baselines import score_baselines

    found = score_baselines(store, split, scaling.value, seed)
    if json:
        typer.echo(json_module.dumps(found))
    else:
        _print_baselines(found)


def robustness(
    run: Annotated[Path, typer.Argument(help="Run directory of `defectpdf train`.")],
    store: Annotated[Path, typer.Argument(help="The store that the run was trained on.")],
    part: Annotated[Part, typer.Option(help="Part of the run's split.")] = Part.test,
    out: Annotated[
        Path | None, typer.Option(metavar="FIGURE.svg", help="Figure to write, .svg or .png.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a run's model on fresh defects of other noise, scale, range of r, instrument and host.

    One quantity at a time takes fixed values, all else is as in the store.
    """
    from train.robustness import measure_robustness, write_figure

    if out:
        _require_figure_path(out)
    found = measure_robustness(run, store, part.value)
    if out:
        write_figure(found, out)
    if json:
        typer.echo(json_module.dumps(found))
    else:
        _print_robustness(found)


def report(
    source: Annotated[Path, typer.Argument(help="A run directory or a store.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")],
    store: Annotated[
        Path | None, typer.Option(help="A run's store, if it has moved since training.")
    ] = None,
) -> None:
    """Write a self-contained HTML report of a run or of a store."""
    from train.report import write_report

    write_report(source, output, store)
    typer.echo(f"wrote {output}")


def export_model(
    run: Annotated[Path, typer.Argument(help="Run directory of `defectpdf train`.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Write a run's model for use elsewhere: weights, a card, a program for torch alone."""
    from train.export import export_model as export

    card = export(run, out)
    if json:
        typer.echo(json_module.dumps(card))
    else:
        typer.echo(f"wrote model.json, {' and '.join(card['sha256'])} to {out}")


def predict(
    run: Annotated[Path, typer.Argument(help="Finished run of `defectpdf train`.")],
    measured: Annotated[list[Path], typer.Argument(help="Measured PDFs of one host, .gr.")],
    structure: Annotated[Path, typer.Option(help="The host without defects, CIF.")],
    rmin: Annotated[float | None, typer.Option(help="First r to fit, A.")] = None,
    rmax: Annotated[float | None, typer.Option(help="Last r to fit, A.")] = None,
    qmin: Annotated[float | None, typer.Option(help="In place of the file's, 1/A.")] = None,
    qmax: Annotated[float | None, typer.Option(help="In place of the file's, 1/A.")] = None,
    qdamp: Annotated[float | None, typer.Option(help="Start or, fixed, value, 1/A.")] = None,
    qbroad: Annotated[float | None, typer.Option(help="Start or, fixed, value, 1/A.")] = None,
    scale: Annotated[float | None, typer.Option(help="Start or, fixed, value.")] = None,
    scattering: Annotated[str | None, typer.Option(help="xray or neutron.")] = None,
    fix: Annotated[
        list[str] | None,
        typer.Option(metavar="scale|cell|uiso|qdamp|qbroad|delta2", help="Keep it; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for a figure of each file, .svg.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a line of JSON a file.")] = False,
) -> None:
    """Refine the host against measured PDFs, then say which defect it has, or refuse to."""
    from train.prediction import predict_files

    stated = {
        "rmin": rmin,
        "rmax": rmax,
        "qmin": qmin,
        "qmax": qmax,
        "qdamp": qdamp,
        "qbroad": qbroad,
        "scale": scale,
        "scattering": scattering,
    }
    given = {name: value for name, value in stated.items() if value is not None}
    failed = False
    for found in predict_files(run, structure, measured, given, fix or []):
        if isinstance(found, ValueError):
            failed = True
            typer.echo(f"defectpdf: error: {found}", err=True)
            continue
        if json:
            typer.echo(json_module.dumps(found.record()))
        else:
            _print_prediction(found)
        if out:
            from train.prediction_figure import write_figure

            typer.echo(f"wrote {write_figure(run, found, out)}", err=True)
    if failed:
        raise typer.Exit(2)


def _print_prediction(found: Prediction) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    values = ", ".join(f"{name} {value:.4g}" for name, value in found.refinement.values.items())
    console.print(f"{found.file}: host refined to Rw {found.refinement.rw:.3f} ({values})")
    for reason in found.refusals:
        console.print(f"  refused: {reason}", markup=False)
    ranked = sorted(found.probabilities.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {100 * p:.1f} %" for name, p in ranked)
    console.print(f"  {'if it were in scope: ' if found.refusals else ''}{shown}", markup=False)
    if found.fraction:
        value, deviation = (100 * x for x in found.fraction)
        console.print(f"  defects per 100 host atoms: {value:.2f} +- {deviation:.2f}")
    if found.elements:
        console.print(f"  impurity by atomic number: {', '.join(found.elements[:8])}")
    for note in found.notes:
        console.print(f"  note: {note}", markup=False)


def _print_baselines(found: dict) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Column, Table

    title = f"{found['split']} split, {found['scaling']} scaling, seed {found['seed']}, test part"
    table = Table(Column("method", no_wrap=True), title=title, box=SIMPLE)
    for heading in ("accuracy", "top-2", "calibration error", "PDFs", "seconds"):
        table.add_column(heading, justify="right")
    for name, of in found["methods"].items():
        rates = of["accuracy"], of["top2"], of["calibration"]["ece"]
        table.add_row(name, *(f"{x:.4f}" for x in rates), str(of["n"]), f"{of['seconds']:.1f}")
    Console(highlight=False).print(table)


def _require_figure_path(out: Path) -> None:
    """ValueError, before minutes of work, if a figure can't be written there."""
    if out.suffix not in (".svg", ".png"):
        raise ValueError(f"{out}: give the figure a name that ends in .svg or .png")
    if not out.parent.is_dir():
        raise ValueError(f"{out}: there is no folder {out.parent}; make it first")


def _print_robustness(found: dict) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

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
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{found['run']}, {found['n']} PDFs for each value")


def _print_scores(scores: dict, title: str) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    names = list(scores["per_class"])
    rates = Table("class", title=title, box=SIMPLE)
    confusion = Table("true class", title="predicted as", box=SIMPLE)
    for heading in ("precision", "recall", "F1", "PDFs"):
        rates.add_column(heading, justify="right")
    for name in names:
        confusion.add_column(name.replace("_", " "), justify="right")
    for name, counts in zip(names, scores["confusion"], strict=True):
        of = scores["per_class"][name]
        of_class = [f"{of[key]:.3f}" for key in ("precision", "recall", "f1")]
        rates.add_row(name, *of_class, str(of["n"]))
        confusion.add_row(name, *map(str, counts))
    console = Console(highlight=False)
    console.print(rates, confusion)
    console.print(
        f"accuracy {scores['accuracy']:.4f}  top-2 {scores['top2']:.4f}  PDFs {scores['n']}  "
        f"expected calibration error {scores['calibration']['ece']:.4f}"
    )
    if leakage := scores.get("leakage"):
        nearest = leakage["nearest_training_host"]
        console.print(
            f"hosts {leakage['hosts']}, also in training {leakage['hosts_in_training']}; distance "
            f"of pristine G(r) to the nearest training host: least {nearest['0 %']:.1%}, "
            f"median {nearest['50 %']:.1%}"
        )
