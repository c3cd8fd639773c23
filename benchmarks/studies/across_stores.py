"""What a run says of the same defects in stores that were made in two ways.

    python -m benchmarks.studies.across_stores --run RUN --store TRAINED --first A... --second B...

The stores have hosts refined against their samples, such as by the stage `relaxed` and by a
potential; rows that both have, of hosts that the run was not trained on, are compared.
docs/robustness.md has an example.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.studies.mismatches import NOISE, Judge, Samples, named
from hpc.watching.console import plain_console
from train.data.store import Dataset
from train.problems.defects.examples import PRISTINE, REFINED
from train.runs.rundir import read_config, read_rows

Row = tuple[str, int]
"""Host and variant."""


def trained_on(run: Path, store: Path) -> set[str]:
    """Hosts of a run's training and validation."""
    examples = read_config(run).problem.examples(Dataset.open(store))
    rows = np.concatenate([read_rows(run, part, examples) for part in ("train", "val")])
    return {str(examples.id[index]) for index in examples.rows[rows, 0].tolist()}


def rows_of(stores: Sequence[Path]) -> dict[Row, tuple[np.ndarray, np.ndarray, int]]:
    """Refined host's and sample's G(r), 1/A^2, and label of all samples of a class.

    Raises:
        ValueError: a store has no refined hosts.
    """
    found = {}
    for store in stores:
        data = Dataset.open(store)
        if REFINED not in data.names:
            raise ValueError(f"{store}: its hosts are not refined (refine_host of [pdf])")
        host, sample, label = (data.column(name) for name in (REFINED, "g", "label"))
        for i, v in np.argwhere(label >= 0).tolist():
            found[str(data.id[i]), v] = host[i, v], sample[i, v], int(label[i, v])
    return found


def lines(
    run: Path, store: Path, first: list[Path], second: list[Path]
) -> Iterator[dict[str, Any]]:
    """Of all rows and of each class."""
    ways = rows_of(first), rows_of(second)
    known = trained_on(run, store)
    rows = sorted(row for row in ways[0].keys() & ways[1].keys() if row[0] not in known)
    if not rows:
        raise ValueError("the stores share no sample of hosts that the run was not trained on")
    ids = sorted({host for host, _ in rows})
    places = np.array([(ids.index(host), variant) for host, variant in rows])
    judge = Judge(run, ids)
    errors = judge.problem.recipe.errors.model_copy(update={"noise": NOISE})
    said, left = [], []
    for way in ways:
        host, sample, label = (np.array(part) for part in zip(*map(way.get, rows), strict=True))
        said.append(judge.classes(Samples(host, sample, label, places), errors))
        left.append(sample - host)
    classes = judge.problem.classes
    truth = named(label, classes)
    miss = np.linalg.norm(left[0] - left[1], axis=1) / np.linalg.norm(left[1], axis=1)
    for name in ("all", *named(np.arange(len(classes)), classes).tolist()):
        mine = (truth == name) | (name == "all")
        yield {
            "class": name,
            "samples": int(mine.sum()),
            "first": float(np.mean(said[0][mine] == truth[mine])),
            "second": float(np.mean(said[1][mine] == truth[mine])),
            "alike": float(np.mean(said[0][mine] == said[1][mine])),
            "difference": float(np.median(miss[mine])) if name != PRISTINE else None,
        }


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="finished")
    parser.add_argument("--store", type=Path, required=True, help="that it was trained on")
    parser.add_argument("--first", type=Path, nargs="+", required=True, help="stores of one way")
    parser.add_argument("--second", type=Path, nargs="+", required=True, help="of the other")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args()
    try:
        found = list(lines(options.run, options.store, options.first, options.second))
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    if options.json:
        print(json.dumps(found))
        return
    headings = ("samples", "right, first", "right, second", "named alike", "rms of the difference")
    table = Table("class", *headings, title="%, the last of what is left of the second, median")
    for one in found:
        parts = (one[key] for key in ("first", "second", "alike", "difference"))
        rates = ("" if part is None else f"{100 * part:.0f}" for part in parts)
        table.add_row(one["class"], str(one["samples"]), *rates)
    plain_console().print(table)


if __name__ == "__main__":
    main()
