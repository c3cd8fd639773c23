"""A self-contained HTML report of a run or of a store.

Everything that comes from data passes through `html.escape`; figures are inline SVG.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from train.data.leakage import LOOKALIKE
from train.data.splits import PARTS, split_meaning
from train.data.store import PDFStore, read_store
from train.judging.evaluation import Predictions, predict_part
from train.report.figures import (
    accuracy_figure,
    as_drawn,
    confusion_figure,
    example_figure,
    histogram_figure,
    learning_figure,
    report_style,
    to_svg,
)
from train.runs.rundir import (
    CONFIG,
    best_epoch,
    read_config,
    read_history,
    read_leakage,
    read_split,
    write_text,
)

CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --page: #fff; --line: #d5d9de; --soft: #f3f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --page: #15181c; --line: #3a4048; --soft: #1f242a; } }
body { color: var(--ink); background: var(--page); font: 16px/1.5 system-ui, sans-serif;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child, table.text td { text-align: left; }
.scroll { overflow-x: auto; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; }
.cards div { background: var(--soft); border-radius: .5rem; padding: .6rem 1rem; }
.cards b { display: block; font-size: 1.5rem; }
.warning { border-left: .3rem solid #d55e00; background: var(--soft); padding: .5rem 1rem; }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; font-size: .8rem; }
figure { margin: 1rem 0; } figcaption { font-size: .9rem; opacity: .8; }
svg { max-width: 100%; height: auto; }
"""
ROW_WARNING = (
    "This run was split by row: nearly every test host is also in training, with other defects. "
    "The accuracy is not that of a crystal that the network has not seen."
)
CAVEATS = (
    "All PDFs are computed and noise-free, on one set of instrument parameters; a measured PDF has "
    "noise, background and other damping.",
    "Atoms sit on ideal sites: nothing relaxes around a defect, and a relaxed lattice would blur "
    "what tells the classes apart.",
    "Each PDF comes with the pristine PDF of the very same host, its lattice constant and "
    "displacements included, as no experiment has it.",
    "Every crystal holds the kinds of defect that its class stands for and no others, in the "
    "concentrations shown here; other mixtures, clusters and concentrations are not tested.",
    "With X-ray weights an impurity whose atomic number is next to the host's scatters like the "
    "host, and only displacements tell it from a self-interstitial: see the accuracy by distance "
    "in Z.",
)


def write_report(source: Path, output: Path, store_path: Path | None = None) -> None:
    """Write the report of a run directory or of a store; ValueError if `source` is neither.

    A run's store is looked for where it was trained from, unless `store_path` says otherwise.
    """
    with report_style():
        if (source / CONFIG).exists():
            text = run_report(source, store_path)
        elif (source / "zarr.json").exists():
            text = store_report(read_store(source))
        else:
            raise ValueError(
                f"{source} is neither a run directory nor a store: it has no {CONFIG} and no "
                "zarr.json"
            )
    write_text(output, text)


def run_report(run: Path, store_path: Path | None = None) -> str:
    config = read_config(run)
    history = read_history(run)
    predictions = predict_part(run, store_path or Path(config.store), "test")
    score = predictions.score()
    best = best_epoch(history)
    cards = {
        "test accuracy": f"{100 * score['accuracy']:.2f} %",
        "top-2 accuracy": f"{100 * score['top2']:.2f} %",
        "test PDFs": str(score["n"]),
        "calibration error": f"{100 * score['calibration']['ece']:.1f} %",
        "epochs": f"{len(history)} of {config.recipe.epochs}",
        "training time": f"{sum(record['seconds'] for record in history) / 60:.1f} min",
    }
    confusion = np.array(score["confusion"])
    sections = [
        _cards(cards),
        f'<p class="warning">{escape(ROW_WARNING)}</p>' if config.split == "row" else "",
        f"<p>Recipe {escape(config.recipe.name)}, {config.recipe.scaling} scaling; split by "
        f"{config.split}: {split_meaning(config.split)}. Weights of epoch {best['epoch']}, the "
        "best on the validation part.</p>",
        "<h2>What is told from what</h2>",
        _figure(
            confusion_figure(confusion, config.classes), "Counts and fractions of each true class."
        ),
        _class_table(score),
        _kind_table(score["per_kind"]) if "per_kind" in score else "",
        "<h2>Where it fails</h2>",
        *_failure_sections(predictions),
        "<h2>Learning curves</h2>",
        _figure(learning_figure(history), "Of the weights that are kept, after each epoch."),
        "<h2>Examples from the test part</h2>",
        _figure(examples_figure(predictions.store, predictions.rows, 0), "Un-normalised G(r)."),
        "<h2>Split</h2>",
        _split_table(run, predictions.store),
        *_leakage_sections(run, config.split),
        "<h2>Caveats</h2>",
        "<ul>" + "".join(f"<li>{escape(caveat)}</li>" for caveat in CAVEATS) + "</ul>",
        "<h2>Configuration</h2>",
        _pre(config.model_dump(mode="json", exclude={"r"})),
    ]
    return _page(f"Point defects from PDFs: run {run.resolve().name}", sections)


def store_report(store: PDFStore) -> str:
    failed = store.label[:, 0] < 0
    cards = {
        "hosts": str(len(store.id)),
        "defective PDFs": str(len(store.rows)),
        "elements": str(len(set(store.element))),
        "quarantined hosts": str(np.count_nonzero(failed)),
    }
    kind = store.label[tuple(store.rows.T)]
    concentration = 100 * store.concentration[tuple(store.rows.T)]
    by_class = {name: concentration[kind == k] for k, name in enumerate(store.classes, 1)}
    bins = np.linspace(0, concentration.max() * 1.0001, 24)
    sections = [
        _cards(cards),
        "<h2>PDFs by space group and kind</h2>",
        _count_table(store),
        "<h2>Hosts by origin</h2>",
        _table(
            ("origin", "hosts", "elements"),
            [
                (
                    name,
                    np.count_nonzero(store.origin == name),
                    len(set(store.element[store.origin == name])),
                )
                for name in sorted(set(store.origin))
            ],
        ),
        "<h2>Defect concentration</h2>",
        _figure(
            histogram_figure(by_class, bins, "defects per host atom (%)", "Concentration by kind"),
            "Numbers of atoms are whole, so small supercells allow few concentrations.",
        ),
        "<h2>Examples</h2>",
        _figure(examples_figure(store, np.arange(len(store.rows)), 0), "Un-normalised G(r)."),
        "<h2>Run description</h2>",
        _pre(store.attributes),
    ]
    return _page(f"PDFs of metals with point defects: {store.path.resolve().name}", sections)


def _failure_sections(predictions: Predictions) -> Iterable[str]:
    store, rows = predictions.store, predictions.rows
    structure, variant = store.rows[rows].T
    label, predicted = predictions.target.numpy(), predictions.logits.argmax(1).numpy()
    correct = label == predicted
    impurity = store.impurity[structure, variant].astype(int)
    step = np.where(impurity > 0, np.abs(impurity - store.host_number[structure]), 0)
    concentration = store.concentration[structure, variant]
    figure = accuracy_figure(concentration, step, label, correct, predictions.config.classes)
    yield _figure(
        figure, "Bars are standard errors. Vacancies and self-interstitials have no impurity."
    )
    groups = store.space_group[structure]
    yield _table(
        ("space group", "test hosts", "test PDFs", "accuracy"),
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
    probability = predictions.logits.softmax(1).amax(1).numpy()
    worst = wrong[np.argsort(-probability[wrong])][:12]
    classes = predictions.config.classes
    yield f"<h3>The surest of {len(wrong)} mistakes</h3>"
    yield _table(
        ("host", "space group", "true", "predicted", "confidence", "concentration", "|ΔZ|"),
        [
            (
                f"{store.element[structure[k]]} ({store.id[structure[k]]})",
                store.space_group[structure[k]],
                classes[label[k]],
                classes[predicted[k]],
                f"{100 * probability[k]:.0f} %",
                f"{100 * concentration[k]:.1f} %",
                step[k] if impurity[k] else "",
            )
            for k in worst
        ],
    )


def examples_figure(store: PDFStore, rows: np.ndarray, seed: int) -> Any:
    """One row of each class among `rows`, of different hosts, chosen by the seed."""
    random = np.random.default_rng(seed)
    structure, variant = store.rows[rows].T
    chosen = []
    for label, name in enumerate(store.classes, 1):
        places = np.flatnonzero(store.label[structure, variant] == label)
        if not len(places):
            continue
        place = random.choice(places)
        s, v = structure[place], variant[place]
        impurity = f", impurity Z = {store.impurity[s, v]}" if store.impurity[s, v] else ""
        title = (
            f"{as_drawn(name)}, {100 * store.concentration[s, v]:.1f} %, in "
            f"{as_drawn(store.element[s])} ({store.space_group[s]}){impurity}"
        )
        traces = np.asarray(store.g[s])
        chosen.append((title, traces[0], traces[v]))
    return example_figure(store.r, chosen)


def _class_table(score: dict[str, Any]) -> str:
    rows = [
        (name, *(f"{100 * of[key]:.1f} %" for key in ("precision", "recall", "f1")), of["n"])
        for name, of in score["per_class"].items()
    ]
    return _table(("class", "precision", "recall", "F1", "test PDFs"), rows)


def _kind_table(of_kinds: dict[str, dict[str, float | None]]) -> str:
    rows = [
        (kind, *("" if value is None else f"{100 * value:.1f} %" for value in of.values()))
        for kind, of in of_kinds.items()
    ]
    heads = ("kind, whatever else is there", "part of PDFs", "precision", "recall", "F1", "AUROC")
    return _table(heads, rows)


def _count_table(store: PDFStore) -> str:
    rows = []
    for number in np.unique(store.space_group):
        label = store.label[store.space_group == number]
        counts = [np.count_nonzero(label == k) for k in range(1, len(store.classes) + 1)]
        rows.append((number, len(label), *counts, np.count_nonzero(label[:, 0] < 0)))
    totals = ("all", *np.sum([row[1:] for row in rows], axis=0))
    return _table(("space group", "hosts", *store.classes, "quarantined"), [*rows, totals])


def _split_table(run: Path, store: PDFStore) -> str:
    split = read_split(run, store).rows
    hosts = {part: set(store.rows[split[part], 0].tolist()) for part in PARTS}
    rows = []
    for part in PARTS:
        elements = {str(store.element[host]) for host in hosts[part]}
        shared = len(hosts[part] & hosts["train"]) if part != "train" else ""
        rows.append((part, len(split[part]), len(hosts[part]), len(elements), shared))
    return _table(("part", "PDFs", "hosts", "elements", "hosts also in training"), rows)


def _leakage_sections(run: Path, split: str) -> Iterable[str]:
    leakage = read_leakage(run)
    quantiles = {part: leakage[part]["nearest_training_host"] for part in ("val", "test")}
    left_out = ""
    if split != "row":
        left_out = (
            f" Below {LOOKALIKE:.0%} a training host is left out: here {len(leakage['left_out'])}."
        )
    yield (
        "<p>Distance of a part's hosts to the nearest training host, as a fraction of the pristine "
        f"G(r) (L2): quantiles.{left_out}</p>"
    )
    yield _table(
        ("part", *quantiles["test"]),
        [(part, *(f"{100 * d:.1f} %" for d in of.values())) for part, of in quantiles.items()],
    )


def _cards(values: dict[str, str]) -> str:
    items = (f"<div><b>{escape(value)}</b>{escape(name)}</div>" for name, value in values.items())
    return f'<div class="cards">{"".join(items)}</div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'


def _figure(figure: Any, caption: str) -> str:
    return f"<figure>{to_svg(figure)}<figcaption>{escape(caption)}</figcaption></figure>"


def _pre(content: Any) -> str:
    return f"<pre>{escape(json.dumps(content, indent=2, default=str))}</pre>"


def _page(title: str, sections: Iterable[str]) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(sections) + "\n</body></html>\n"
    )
