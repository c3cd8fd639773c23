"""What a measurement can tell of relaxed defects, at best, in hosts that are known.

    python -m benchmarks.studies.relaxed_limits [--json]

For some hosts, on the instrument of jobs/relaxed.toml, with atoms on their sites and relaxed, and
the cell and the Uiso of the host refined: what each kind of defect leaves, how alike that is of two
kinds, from which fraction on it is seen above white noise, what of it is shifts and what is widths,
and how often the kind of defect is known. Some five minutes on one core.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.linalg import orth

from benchmarks.common import Row, Tables, machine, versions
from benchmarks.studies.pair_shifts import PairShifts
from benchmarks.studies.relaxed_likelihood import Judge, accuracy, fraction_seen
from benchmarks.studies.relaxed_signals import AMPLITUDES, REFINED, Signals, some_impurities
from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library
from defectgen.point_defects.settings import KINDS
from defectgen.samples import Resources
from defectgen.stages.relaxed import Relaxed
from hpc.description import RunDescription, read_description
from pdfcalc import calculate_pdf
from train.problems.defects.inputs import without
from train.problems.defects.relaxed_means import RelaxedMeans, State

HOSTS = (("Al", 225), ("Cu", 225), ("Ni", 225), ("Fe", 229), ("Ti", 194), ("Sn", 141))
_RELAXED = Path(__file__).parents[2] / "jobs" / "relaxed.toml"
_NOISES = (0.003, 0.01, 0.03)
_ALL_NOISES = (0.001, 0.003, 0.01, 0.02, 0.03, 0.1)
"""Of the rms of G(r), at independent points."""
_SCALES = {"known": 0.0, "known to 0.3 %": 0.003, "free": math.inf}
_WAYS = {"on sites": 0, "relaxed": 1 + AMPLITUDES.index(1.0)}
_SEED, _PER_CLASS = 20250, 400
_EXPANDED = 6
"""Samples that are taken to pieces."""
_NOTHING = 0.05
"""Of G(r) for each defect a host atom: what is less can't be compared."""
REMAINS = "Rms left by 1 % of defects over that of G(r), %"
ALIKE = "Cosines, median and largest over impurities"
ORDERS = "Rms left of relaxing around 1 % of vacancies over that of G(r), scale free, %"
SEEN = "Least fraction at three deviations, %"
TOLD_APART = "Accuracy and recall of five classes, %"


def host_of(element: str, space_group: int) -> Host:
    return next(
        host
        for host in embedded_library(published_only=True)
        if (host.element, host.space_group) == (element, space_group)
    )


def remains(name: str, signals: Signals) -> Iterator[Row]:
    """The rms that 1 % of defects leave over that of G(r), %; the median over impurities."""
    for kind in KINDS:
        yield {"host": name, "kind": kind} | {
            column: statistics.median(_size(one) for one in of) / math.sqrt(signals.independent)
            for column, of in _columns(signals, kind)
        }


def alike(name: str, signals: Signals) -> Iterator[Row]:
    """Cosines between what is left of two kinds: the median over impurities, and the largest.

    That of an impurity is the largest over its sites, and over those of the other kind. None where
    there is nothing left.
    """
    pairs = (
        ("vacancy", "substitution"),
        ("vacancy", "interstitial"),
        ("self_interstitial", "interstitial"),
    )
    for first, second in pairs:
        row: Row = {"host": name, "kinds": f"{first}, {second}"}
        others = dict(_columns(signals, second))
        for column, of in _columns(signals, first):
            row[column] = _cosines(of, others[column])
        yield row
    row = {"host": name, "kinds": "vacancy, less of the scale"}
    scale = [-signals.along_scale]
    row |= {column: _cosines(scale, of) for column, of in _columns(signals, "vacancy")}
    yield row


def _columns(signals: Signals, kind: str) -> Iterator[tuple[str, list[np.ndarray]]]:
    """What the states of a kind leave, by what is refined and how atoms relax."""
    for refined in REFINED:
        of_kind = [of for state, of in signals.left(refined).items() if state.kind == kind]
        for way, place in _WAYS.items():
            yield f"{way}, {refined}", [of[place] for of in of_kind]


def _size(of: np.ndarray) -> float:
    return float(np.linalg.norm(of))


def _cosines(first: list[np.ndarray], second: list[np.ndarray]) -> tuple[float, float] | None:
    units = [
        [one / size for one in some if (size := _size(one)) > _NOTHING] for some in (first, second)
    ]
    if not all(units):
        return None
    largest = (np.array(units[1]) @ np.array(units[0]).T).max(axis=1)
    return float(np.median(largest)), float(largest.max())


def seen(name: str, signals: Signals) -> Iterator[Row]:
    """The least fraction that is three deviations from none, %; the median over impurities."""
    for kind in KINDS:
        for noise in _NOISES:
            row: Row = {"host": name, "kind": kind, "noise, %": 100 * noise}
            for column, of in _columns(signals, kind):
                least = statistics.median(fraction_seen(one, noise) for one in of)
                row[column] = 100 * least if least < 1 else None
            yield row


def by_order(means: RelaxedMeans, stage: Relaxed) -> Row:
    """Of what relaxing around 1 % of vacancies leaves, first and second order, over the rms, %.

    About the strained cell; cell, Uiso and scale take up their part.
    """
    state = State("vacancy")
    stage = stage.model_copy(update={"amplitude": (1.0, 1.0)})
    parameters, points = means.pdf.parameters, means.pdf.stored
    taken_up = orth(np.vstack([means.tangents, means.pristine]).T)
    found = []
    for sample in means.samples(state)[:_EXPANDED]:
        before = sample.atoms()
        (relaxed,) = stage.apply([sample], Resources())
        after = relaxed.atoms()
        strained = replace(before, lattice=after.lattice)
        orders = PairShifts.between(strained, after, parameters).change(parameters)
        exact = [calculate_pdf(one, parameters)[1] for one in (after, strained)]
        changes = np.vstack([exact[0] - exact[1], orders])[:, points]
        found.append(without(changes / means.fraction(state), taken_up))
    exact, first, second = np.mean(found, axis=0)
    parts = {
        "exact": exact,
        "first order": first,
        "second": second,
        "missed by both": exact - first - second,
    }
    unit = _size(means.pristine)
    return {name: _size(part) / unit for name, part in parts.items()}


def told_apart(hosts: Sequence[Signals], description: RunDescription) -> Iterator[Row]:
    """How often the class is known, %, over the hosts."""
    stage = _relaxed(description)
    ranges = {kind: description.defects.fraction_of((kind,)) for kind in KINDS}
    for way, amplitudes in (("on sites", None), ("relaxed", stage.amplitude)):
        for scale, deviation in _SCALES.items():
            for noise in _ALL_NOISES:
                rng = np.random.default_rng(_SEED)
                recalls = [
                    Judge(signals, amplitudes, ranges, noise, deviation).recalls(_PER_CLASS, rng)
                    for signals in hosts
                ]
                row: Row = {"atoms": way, "scale": scale, "noise, %": 100 * noise}
                yield row | accuracy(recalls)


def _relaxed(description: RunDescription) -> Relaxed:
    (stage,) = description.stages
    assert isinstance(stage, Relaxed)
    return stage


def make_study(hosts: Sequence[tuple[str, int]], draws: int) -> Tables:
    description = read_description(_RELAXED)
    stage, defects = _relaxed(description), description.defects
    impurities = some_impurities(defects.impurities)
    about = defects.model_copy(update={"impurities": impurities}), description.pdf, stage
    tables: Tables = {title: [] for title in (REMAINS, ALIKE, SEEN, ORDERS)}
    every = []
    for element, space_group in hosts:
        print(f"{element}, {space_group}", file=sys.stderr)
        means = RelaxedMeans(host_of(element, space_group), *about, draws)
        signals = Signals.of(means)
        tables[ORDERS].append({"host": element} | by_order(means, stage))
        tables[REMAINS] += remains(element, signals)
        tables[ALIKE] += alike(element, signals)
        tables[SEEN] += seen(element, signals)
        every.append(signals)
    return tables | {TOLD_APART: list(told_apart(every, description))}


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument("--draws", type=int, default=12, help="samples of each state")
    options = parser.parse_args()
    tables = make_study(HOSTS, options.draws)
    if options.json:
        print(json.dumps({"machine": machine(), "versions": versions(), "tables": tables}))
        return
    for title, rows in tables.items():
        print(markdown(title, rows))


def markdown(title: str, rows: Sequence[Row]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join([title, "", *("| " + " | ".join(map(_text, one)) + " |" for one in lines), ""])


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " to ".join(map(_text, value))
    return f"{value:.3g}" if isinstance(value, float) else "none" if value is None else str(value)


if __name__ == "__main__":
    main()
