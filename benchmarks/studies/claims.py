"""What is claimed of simulated measurements, by `defectpdf analyse` and by runs.

    python -m benchmarks.studies.claims
    python -m benchmarks.studies.claims --store metals.zarr --runs RUN [RUN ...]

The first asks `analyse` about measurements of relaxed samples, as `benchmarks.studies.limits` draws
them, three of four without defects. It looks for all kinds, with the impurity that is there and
some others. No evidence and an unclear verdict count as no claim.

The second asks runs about hosts that they never saw.
Crystals, defects, instruments, noise and slow errors are drawn as for the training of the recipe
`measured`, in hosts of each run's test part. Each measurement is written to a file and goes the
whole way of `defectpdf predict`, from the host as the store has it.

Prints, for each class, how often a defect is claimed, the upper limit of that at 95 % (C. J.
Clopper and E. S. Pearson, Biometrika 26, 404, 1934), how often it is the right kind, and how often
the answer is refused.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.table import Table
from scipy.stats import binomtest

from benchmarks.studies.limits import simulate
from defectgen.point_defects.settings import KINDS
from defectgen.samples import UnusableItem
from defectgen.sources.defects import Defects
from hpc.store.store import Store
from hpc.watching.console import plain_console
from pdfcalc import write_gr
from train.data.store import Dataset
from train.fitting.loop import evenly
from train.measured.analysis import NO_EVIDENCE, UNCLEAR, Analysis, analysis_of
from train.measured.prediction import REFUSED_VERDICT
from train.measured.predictor import Predictor
from train.measured.refining import refined
from train.measured.structure import Structure
from train.problems.defects.examples import PRISTINE
from train.problems.defects.fresh_draws import FreshDraws, Variation
from train.runs.rundir import read_rows

_OWN = 1  # of random numbers beside those that a measurement is drawn by
_AMPLITUDES = (0.7, 1.3)
"""By how much more or less than thought atoms relax, uniform."""
_IMPURITIES = 3
"""Metals to look for beside the one that is there; all take a minute or two a measurement."""
_SCALE = 0.7  # of the measurements, which is to be refined


def analysed(count: int) -> list[tuple[str, str]]:
    """Of `count` measurements, less those that can't be made: what there is, and the verdict."""
    found = []
    with TemporaryDirectory() as folder:
        file = Path(folder, "measured.gr")
        for seed in range(count):
            kind = None if seed % 4 else KINDS[seed // 4 % len(KINDS)]
            rng = np.random.default_rng([seed, _OWN])
            try:
                true = simulate(seed, kind, float(rng.uniform(*_AMPLITUDES)), file)
            except UnusableItem:
                continue
            crystal = Structure.of_host(file, true.host)
            metals = Defects().defects.impurities_of(true.host.element, KINDS)
            sought = {*rng.choice(metals, _IMPURITIES, replace=False).tolist(), true.element}
            one = refined(crystal, file, {}, ())
            analysis = analysis_of(crystal, one, None, sorted(sought - {None}))
            found.append((kind or PRISTINE, _verdict(analysis, kind)))
    return found


def _verdict(analysis: Analysis, kind: str | None) -> str:
    """The kind that is there, where it is among those named; else the first of them."""
    if analysis.verdict in (NO_EVIDENCE, UNCLEAR):
        return PRISTINE
    named = analysis.verdict.split(" or ")
    return kind if kind in named else named[0]


def verdicts(run: Path, store_path: Path, count: int) -> list[tuple[str, str]]:
    """Of some `count` measurements, evenly over the hosts: what there is, and the verdict."""
    predictor = Predictor(run)
    config, problem = predictor.config, predictor.problem
    store = problem.examples(Dataset.open(store_path))
    variation = problem.recipe.variation
    if PRISTINE not in problem.classes or variation == Variation():
        raise ValueError(f"{run} is no run on measurements: train one with --recipe measured")
    draws = FreshDraws.of_store(store_path, variation, config.seed)
    rows = evenly(read_rows(run, "test", store), count)
    hosts = Store(store_path).items
    found = []
    with TemporaryDirectory() as folder:
        file = Path(folder, "measured.gr")
        for row in rows:
            host, variant = store.rows[row].tolist()
            _measure(draws, host, int(store.label[host, variant]), variant, file)
            structure = Structure.of_host(store_path, hosts[host])
            verdict = predictor.predict(structure, file, {}).verdict
            found.append((problem.classes[store.target[row]], verdict))
    return found


def _measure(draws: FreshDraws, host: int, label: int, number: int, file: Path) -> None:
    """Write a drawn measurement; its crystal and instrument are none that the store has."""
    _, _, pdf = draws.variant(host, label, number, epoch=0)
    drawn = draws.draw(np.array([host]), np.array([label]), np.array([number]), epoch=0)
    r, g = pdf.parameters.r[pdf.stored], drawn.defective[0].numpy()
    write_gr(file, r[g != 0], _SCALE * g[g != 0], pdf.parameters)


def count_claims(found: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A line for each class; parts of all its measurements, `right` of those with a claim."""
    lines = []
    for name in dict.fromkeys(true for true, _ in found):
        verdicts_of = Counter(verdict for true, verdict in found if true == name)
        n = verdicts_of.total()
        refused = verdicts_of[REFUSED_VERDICT]
        claims = n - refused - verdicts_of[PRISTINE]
        right = verdicts_of[name] / claims if claims and name != PRISTINE else None
        line = {"class": name, "n": n, "claimed": claims / n, "claimed_95": at_most(claims, n)}
        lines.append(line | {"right": right, "refused": refused / n})
    return lines


def at_most(count: int, n: int) -> float:
    """Upper limit at 95 % of a probability, by a count of n."""
    return float(binomtest(count, n, alternative="less").proportion_ci(0.95).high)


def print_claims(lines: Sequence[dict[str, Any]]) -> None:
    table = Table("class", title="simulated measurements")
    for heading in (
        "PDFs",
        "defect claimed",
        "at most",
        "of these the right kind",
        "refused",
    ):
        table.add_column(heading, justify="right")
    for line in lines:
        rates = (line[key] for key in ("claimed", "claimed_95", "right", "refused"))
        shown = ("" if rate is None else f"{rate:.1%}" for rate in rates)
        table.add_row(line["class"], str(line["n"]), *shown)
    plain_console().print(table)


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="of `defectpdf generate`")
    parser.add_argument("--runs", type=Path, nargs="+", help="finished runs on it")
    parser.add_argument("--count", type=int, default=300, help="measurements, of each run")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args()
    if bool(options.runs) != bool(options.store):
        parser.error("--store and --runs go together")
    try:
        found = analysed(options.count) if not options.runs else []
        for run in options.runs or ():
            found += verdicts(run, options.store, options.count)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    lines = count_claims(found)
    if options.json:
        print(json.dumps(lines))
    else:
        print_claims(lines)


if __name__ == "__main__":
    main()
