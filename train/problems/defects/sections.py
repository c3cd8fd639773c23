"""What reports have of the defects problem."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from matplotlib.figure import Figure

from train.judging.evaluation import Judged
from train.problems import Section
from train.problems.defects.errors import range_of
from train.problems.defects.examples import DefectExamples
from train.problems.defects.figures import accuracy_figure, example_figure, histogram_figure
from train.problems.defects.recipes import DefectRecipe
from train.problems.defects.trace import Trace
from train.report.figures import as_drawn, confusion_figure
from train.report.html import cards, figure, paragraph, preformatted, table

_CAVEATS = (
    "Where the store has no stage that relaxes them, atoms sit on ideal sites, and a relaxed "
    "lattice would blur what tells the classes apart.",
    "Every crystal holds the kinds of defect that its class stands for and no others, in the "
    "concentrations shown here; other mixtures, clusters and concentrations are not tested.",
    "With X-ray weights an impurity whose atomic number is next to the host's scatters like the "
    "host, and only displacements tell it from a self-interstitial: see the accuracy by distance "
    "in Z.",
)


def caveats_of(trace: Trace, recipe: DefectRecipe) -> tuple[str, ...]:
    """What the scores of a run on such traces do not say."""
    _, noise = range_of(recipe.errors.noise)
    errors = "with white noise only" if noise else "noise-free"
    if recipe.errors.distortion:
        errors = "with white noise and slow errors of S(Q)"
    computed = f"All {trace.title} are computed and {errors}, on the store's instruments"
    if trace.is_pdf:
        computed += "; a measured PDF has background, slow errors and other damping"
    host = (
        "The host's cell and displacements were refined against each sample; its instrument is "
        "known exactly."
        if {"cell", "uiso"} <= set(recipe.absorbed or ())
        else "Each trace comes with that of the very same host without defects, its lattice "
        "constant and displacements included, as no experiment has it."
    )
    return (f"{computed}.", host, *_CAVEATS)


def run_sections(found: Judged, scores: dict[str, Any]) -> Iterator[Section]:
    """What is told from what, where that fails, and what it looks like."""
    examples = cast(DefectExamples, found.examples)
    classes, rows = examples.classes, found.rows
    confusion = confusion_figure(np.array(scores["confusion"]), classes)
    per_kind = _kind_table(scores["per_kind"], examples.title) if "per_kind" in scores else ""
    yield Section(
        "What is told from what",
        figure(confusion, "Counts and fractions of each true class.")
        + _class_table(scores, examples.title)
        + per_kind,
    )
    yield Section("Where it fails", "".join(_failures(found, examples)))
    if "novelty" in scores:
        yield Section("How new the test hosts are", _novelty_table(scores["novelty"]))
    drawn = figure(examples_figure(examples, rows, 0), f"Un-normalised {examples.trace.quantity}.")
    yield Section("Examples from the test part", drawn)


def store_sections(examples: DefectExamples) -> Iterator[Section]:
    """What a store holds."""
    structure, variant = examples.rows.T
    kind = examples.label[structure, variant]
    concentration = 100 * examples.concentration[structure, variant]
    by_class = {name: concentration[kind == k] for k, name in enumerate(examples.classes, 1)}
    bins = np.linspace(0, concentration.max() * 1.0001, 24)
    yield Section("", cards(_store_cards(examples)))
    yield Section(f"{examples.title} by space group and kind", _count_table(examples))
    yield Section("Hosts by origin", _origin_table(examples))
    drawn = histogram_figure(
        by_class, bins, "defects per host atom (%)", examples.title, "Concentration by kind"
    )
    caption = "Numbers of atoms are whole, so small supercells allow few concentrations."
    yield Section("Defect concentration", figure(drawn, caption))
    drawn = examples_figure(examples, np.arange(len(examples.rows)), 0)
    yield Section("Examples", figure(drawn, f"Un-normalised {examples.trace.quantity}."))
    yield Section("Run description", preformatted(examples.data.attributes))


def _store_cards(examples: DefectExamples) -> dict[str, str]:
    return {
        "hosts": str(len(examples.id)),
        f"defective {examples.title}": str(len(examples.rows)),
        "elements": str(len(set(examples.element))),
        "quarantined hosts": str(np.count_nonzero(examples.label[:, 0] < 0)),
    }


def _failures(found: Judged, examples: DefectExamples) -> Iterator[str]:
    rows, logits = found.rows, found.predicted.outputs.logits
    structure, variant = examples.rows[rows].T
    label, predicted = examples.target[rows], logits.argmax(1).numpy()
    correct = label == predicted
    impurity = examples.impurity[structure, variant].astype(int)
    step = np.where(impurity > 0, np.abs(impurity - examples.host_number[structure]), 0)
    concentration = examples.concentration[structure, variant]
    drawn = accuracy_figure(concentration, step, label, correct, examples.classes)
    yield figure(
        drawn, "Bars are standard errors. Vacancies and self-interstitials have no impurity."
    )
    groups = examples.space_group[structure]
    yield table(
        ("space group", "test hosts", f"test {examples.title}", "accuracy"),
        [
            (
                number,
                len(set(structure[of])),
                np.count_nonzero(of),
                f"{100 * correct[of].mean():.1f} %",
            )
            for number in np.unique(groups)
            for of in [groups == number]
        ],
    )
    wrong = np.flatnonzero(~correct)
    if not len(wrong):
        return
    probability = logits.softmax(1).amax(1).numpy()
    worst = wrong[np.argsort(-probability[wrong])][:12]
    yield f"<h3>The surest of {len(wrong)} mistakes</h3>"
    yield table(
        ("host", "space group", "true", "predicted", "confidence", "concentration", "|ΔZ|"),
        [
            (
                f"{examples.element[structure[k]]} ({examples.id[structure[k]]})",
                examples.space_group[structure[k]],
                examples.classes[label[k]],
                examples.classes[predicted[k]],
                f"{100 * probability[k]:.0f} %",
                f"{100 * concentration[k]:.1f} %",
                step[k] if impurity[k] else "",
            )
            for k in worst
        ],
    )


def examples_figure(examples: DefectExamples, rows: np.ndarray, seed: int) -> Figure:
    """One row of each class among `rows`, of different hosts, chosen by the seed."""
    random = np.random.default_rng(seed)
    structure, variant = examples.rows[rows].T
    chosen = []
    for label, name in enumerate(examples.classes, 1):
        places = np.flatnonzero(examples.label[structure, variant] == label)
        if not len(places):
            continue
        place = random.choice(places)
        s, v = structure[place], variant[place]
        number = examples.impurity[s, v]
        title = (
            f"{as_drawn(name)}, {100 * examples.concentration[s, v]:.1f} %, in "
            f"{as_drawn(examples.element[s])} ({examples.space_group[s]})"
            + (f", impurity Z = {number}" if number else "")
        )
        host, sample = (
            examples.data.read(array, np.array([s]))[0, v if of is None else of]
            for array, of in examples.inputs
        )
        chosen.append((title, host, sample))
    return example_figure(examples.trace, examples.points, chosen)


def _class_table(scores: dict[str, Any], counted: str) -> str:
    rows = [
        (name, *(f"{100 * of[key]:.1f} %" for key in ("precision", "recall", "f1")), of["n"])
        for name, of in scores["per_class"].items()
    ]
    return table(("class", "precision", "recall", "F1", f"test {counted}"), rows)


def _kind_table(of_kinds: dict[str, dict[str, float | None]], counted: str) -> str:
    rows = [
        (kind, *("" if value is None else f"{100 * value:.1f} %" for value in of.values()))
        for kind, of in of_kinds.items()
    ]
    part = f"part of {counted}"
    heads = ("kind, whatever else is there", part, "precision", "recall", "F1", "AUROC")
    return table(heads, rows)


def _novelty_table(novelty: dict[str, Any]) -> str:
    rows = [
        (
            name,
            of["hosts"],
            f"{100 * of['nearest']:.1f} %",
            f"{100 * of['nearest_stretched']:.1f} %",
        )
        for name, of in novelty["groups"].items()
    ]
    stretch = f"{100 * novelty['stretch']:g} %"
    return paragraph(
        "Median distance of the test hosts to the nearest training host, as a fraction of their "
        f"own trace (L2), before and after the best stretch of the axis by up to {stretch}, which "
        "training uses. What is left after it is what is new in a host."
    ) + table(("space group", "test hosts", "as it is", "best stretched"), rows)


def _count_table(examples: DefectExamples) -> str:
    rows = []
    classes = examples.classes
    for number in np.unique(examples.space_group):
        label = examples.label[examples.space_group == number]
        counts = [np.count_nonzero(label == k) for k in range(1, len(classes) + 1)]
        rows.append((number, len(label), *counts, np.count_nonzero(label[:, 0] < 0)))
    totals = ("all", *np.sum([row[1:] for row in rows], axis=0))
    return table(("space group", "hosts", *classes, "quarantined"), [*rows, totals])


def _origin_table(examples: DefectExamples) -> str:
    origin, element = examples.origin, examples.element
    rows = [
        (name, np.count_nonzero(origin == name), len(set(element[origin == name])))
        for name in sorted(set(origin))
    ]
    return table(("origin", "hosts", "elements"), rows)
