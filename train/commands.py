"""Console commands of the trainer, for the `defectpdf` application and `python -m train`."""

from __future__ import annotations

import json as json_module
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from train.fitting.watch import stopping
from train.measured import options

DEFAULT_PROBLEM = "defects"


class Scaling(StrEnum):
    shared = "shared"
    trace = "trace"


class Draws(StrEnum):
    store = "store"
    streaming = "streaming"


class SplitPart(StrEnum):
    train = "train"
    val = "val"
    test = "test"


class Along(StrEnum):
    r = "r"
    q = "q"


SplitOption = Annotated[
    str | None,
    typer.Option(
        metavar="host|element|space_group:N|row",
        help="What is held out together; `space_group:225` tests on group 225 alone. "
        "`row` leaks test hosts into training. Other problems have others; the first if not given.",
    ),
]
ProblemOption = Annotated[str, typer.Option(help="What is to be learned from the store.")]


@stopping()
def train(
    store: Annotated[Path, typer.Argument(help="Store of `defectpdf generate`.")],
    out: Annotated[Path, typer.Option(help="Run directory; an unfinished run continues.")],
    recipe: Annotated[
        str, typer.Option(metavar="default|ideal|measured|reference", help="Model and schedule.")
    ] = "default",
    split: SplitOption = None,
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
    problem: ProblemOption = DEFAULT_PROBLEM,
) -> None:
    """Train a network: by default one that names the defect type from a pair of traces."""
    from train.fitting.loop import fit
    from train.problems import find_problem
    from train.runs.rundir import read_config
    from train.setup.distributed import join_world
    from train.setup.recipes import make_recipe, parse_setting

    changes = dict(map(parse_setting, settings or []))
    named = {"scaling": scaling and scaling.value, "draws": draws and draws.value, "epochs": epochs}
    changes |= {key: value for key, value in named.items() if value is not None}
    chosen = make_recipe(find_problem(problem).recipes, recipe, changes)
    with join_world() as world:
        metrics = fit(store, out, chosen, split, seed, world, snapshot_seconds, tensorboard)
        if world.is_main:
            config = read_config(out)
            summary = config.problem.summary(metrics["test"])
            typer.echo(f"test {summary} ({config.split} split); model in {out}")


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory of `defectpdf train`.")],
    store: Annotated[Path, typer.Argument(help="The store that the run was trained on.")],
    split: Annotated[SplitPart, typer.Option(help="Part of the run's split.")] = SplitPart.test,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit fractions and elements, too: half a second a host.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a run's model: accuracy, top-2, per class, confusion, calibration."""
    from train.runs.predictions import predict_part

    predictions = predict_part(run, store, split.value)
    for caveat in predictions.caveats:
        typer.echo(f"defectpdf: warning: {caveat}", err=True)
    problem, scores = predictions.config.problem, predictions.score()
    if novelty := predictions.novelty():
        scores["novelty"] = novelty
    if fit:
        scores["fit"] = problem.fits(predictions)
    if json:
        typer.echo(json_module.dumps(scores))
    else:
        problem.print_scores(scores, f"{run}, {split.value} part")


def baselines(
    store: Annotated[Path, typer.Argument(help="Store of `defectpdf generate`.")],
    recipe: Annotated[
        str, typer.Option(metavar="default|ideal", help="Classes and errors of the traces.")
    ] = "default",
    split: SplitOption = None,
    scaling: Annotated[Scaling | None, typer.Option(help="Scale of the traces.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of split and methods.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    problem: ProblemOption = DEFAULT_PROBLEM,
) -> None:
    """Score scikit-learn's classifiers as networks are: same splits, scaling and scores."""
    from train.data.store import Dataset
    from train.problems import find_problem
    from train.setup.recipes import make_recipe

    kind = find_problem(problem)
    changes = {"scaling": scaling.value} if scaling else {}
    choices, data = make_recipe(kind.recipes, recipe, changes), Dataset.open(store)
    posed = kind.of(data, choices)
    found = posed.baselines(data, split, seed)
    if json:
        typer.echo(json_module.dumps(found))
    else:
        posed.print_baselines(found)


def robustness(
    run: Annotated[Path, typer.Argument(help="Run directory of `defectpdf train`.")],
    store: Annotated[Path, typer.Argument(help="The store that the run was trained on.")],
    part: Annotated[SplitPart, typer.Option(help="Part of the run's split.")] = SplitPart.test,
    out: Annotated[
        Path | None, typer.Option(metavar="FIGURE.svg", help="Figure to write, .svg or .png.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a run's model on fresh defects of other noise, scale, range of r, instrument and host.

    One quantity at a time takes fixed values, all else is as in the store.
    """
    from train.report.figures import require_figure_path, write_figure
    from train.runs.rundir import read_config

    if out:
        require_figure_path(out)
    found = read_config(run).problem.robustness(run, store, part.value)
    if out:
        write_figure(found.figure, out)
    if json:
        typer.echo(json_module.dumps(found.record()))
    else:
        found.print()


def report(
    source: Annotated[Path, typer.Argument(help="A run directory or a store.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")],
    store: Annotated[
        Path | None, typer.Option(help="A run's store, if it has moved since training.")
    ] = None,
    problem: ProblemOption = DEFAULT_PROBLEM,
) -> None:
    """Write a self-contained HTML report of a run or of a store."""
    from train.problems import find_problem
    from train.runs.report import write_report

    write_report(source, output, store, find_problem(problem))
    typer.echo(f"wrote {output}")


def explain(
    run: Annotated[Path, typer.Argument(help="Run directory of `defectpdf train`.")],
    store: Annotated[Path, typer.Argument(help="The store that the run was trained on.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Figure: .svg or .png.")],
    part: Annotated[SplitPart, typer.Option(help="Part of the run's split.")] = SplitPart.test,
    along: Annotated[
        Along, typer.Option(help="Divide what the network sees over r, or over Q.")
    ] = Along.r,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a run's network looks at: integrated gradients by class, and ablations."""
    from train.report.figures import require_figure_path, write_figure
    from train.runs.rundir import read_config

    require_figure_path(output)
    explanation = read_config(run).problem.explain(run, store, part.value, along.value)
    write_figure(explanation.figure, output)
    if json:
        typer.echo(json_module.dumps(explanation.summary()))
    else:
        explanation.print(f"{run}, {part.value} part")


def export_model(
    run: Annotated[Path, typer.Argument(help="Run directory of `defectpdf train`.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Write a run's model for use elsewhere: weights, a card, a program for torch alone."""
    from train.runs.export import export_model as export

    card = export(run, out)
    if json:
        typer.echo(json_module.dumps(card))
    else:
        typer.echo(f"wrote model.json, {' and '.join(card['sha256'])} to {out}")


def predict(
    run: Annotated[Path, typer.Argument(help="Finished run of `defectpdf train`.")],
    measured: options.Measured,
    structure: Annotated[Path, typer.Option(help="The host without defects, CIF.")],
    rmin: options.RMin = None,
    rmax: options.RMax = None,
    qmin: options.QMin = None,
    qmax: options.QMax = None,
    qdamp: options.QDamp = None,
    qbroad: options.QBroad = None,
    scale: options.Scale = None,
    scattering: options.Scattering = None,
    fix: options.Fix = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for a figure of each file, .svg.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a line of JSON a file.")] = False,
) -> None:
    """Refine the host against measured PDFs, then say which defect it has, or refuse to."""
    from train.measured.predictor import predict_files

    ranges = {"rmin": rmin, "rmax": rmax, "qmin": qmin, "qmax": qmax}
    given = options.given(**ranges, qdamp=qdamp, qbroad=qbroad, scale=scale, scattering=scattering)
    if out:
        options.prepare(out, measured)
    for found in options.usable(predict_files(run, structure, measured, given, fix or [])):
        if json:
            typer.echo(json_module.dumps(found.record()))
        else:
            from train.measured.terminal import print_prediction

            print_prediction(found)
        if out:
            from train.measured.prediction_figure import write_figure

            typer.echo(f"wrote {write_figure(found, out)}", err=True)


def analyse(
    structure: Annotated[Path, typer.Argument(help="CIF file of the crystal without defects.")],
    measured: options.Measured,
    reference: Annotated[
        Path | None,
        typer.Option(help="Measured PDF of the undamaged sample, on the same instrument."),
    ] = None,
    impurity: Annotated[
        list[str] | None,
        typer.Option(
            help="Look for this metal, or H, C, N or O; repeatable. All metals by default."
        ),
    ] = None,
    rmin: options.RMin = None,
    rmax: options.RMax = None,
    qmin: options.QMin = None,
    qmax: options.QMax = None,
    qdamp: options.QDamp = None,
    qbroad: options.QBroad = None,
    scale: options.Scale = None,
    scattering: options.Scattering = None,
    fix: options.Fix = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML file to write; of one measurement.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a line of JSON a file.")] = False,
) -> None:
    """Say which point defects measured PDFs show and which they can't exclude; trains nothing."""
    from pdfcalc.files import require_place
    from train.measured.analysis import analyse_files
    from train.measured.analysis_report import print_analysis, write_page

    if output and len(measured) > 1:
        raise ValueError("--output is for one measurement: give one, or leave it out")
    if output:
        require_place(output)
    ranges = {"rmin": rmin, "rmax": rmax, "qmin": qmin, "qmax": qmax}
    given = options.given(**ranges, qdamp=qdamp, qbroad=qbroad, scale=scale, scattering=scattering)
    for found in options.usable(
        analyse_files(structure, measured, reference, impurity, given, fix or [])
    ):
        if json:
            typer.echo(json_module.dumps(found.record()))
        else:
            print_analysis(found)
        if output:
            write_page(found, output)
            typer.echo(f"wrote {output}", err=True)


def refine(
    structure: Annotated[Path, typer.Argument(help="CIF file of the crystal.")],
    measured: options.Measured,
    rmin: options.RMin = None,
    rmax: options.RMax = None,
    qmin: options.QMin = None,
    qmax: options.QMax = None,
    qdamp: options.QDamp = None,
    qbroad: options.QBroad = None,
    scale: options.Scale = None,
    scattering: options.Scattering = None,
    fix: options.Fix = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for a .fgr and a figure of each file, and summary.csv."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a line of JSON a file.")] = False,
) -> None:
    """Refine a crystal against measured PDFs: scale, cell, Uiso, instrument, delta2."""
    from train.measured.refining import Refined, refine_files, write_refined

    ranges = {"rmin": rmin, "rmax": rmax, "qmin": qmin, "qmax": qmax}
    given = options.given(**ranges, qdamp=qdamp, qbroad=qbroad, scale=scale, scattering=scattering)
    if out:
        options.prepare(out, measured)
    every: list[Refined] = []
    for found in refine_files(structure, measured, given, fix or []):
        if isinstance(found, ValueError):
            typer.echo(f"defectpdf: error: {found}", err=True)
            continue
        every.append(found)
        typer.echo(json_module.dumps(found.record()) if json else found.line())
        for note in [] if json else found.notes:
            typer.echo(f"  note: {note}")
    for path in write_refined(every, out) if out else ():
        typer.echo(f"wrote {path}", err=True)
    if len(every) < len(measured):
        raise typer.Exit(2)
