"""What `predict` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defectgen.hosts.cif import printable
from hpc.watching.console import plain_console
from train.measured.prediction import Prediction
from train.problems.defects.examples import PRISTINE
from train.problems.defects.kinds import hold_sets

if TYPE_CHECKING:
    from rich.console import Console


def print_prediction(found: Prediction) -> None:
    console = plain_console(soft_wrap=True)
    rw, values = found.refinement.rw, found.refinement.values
    shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    console.print(f"{printable(found.file)}: host refined to Rw {rw:.3f} ({shown})")
    for reason in found.refusals:
        console.print(f"  refused: {reason}")
    ranked = sorted(found.probabilities.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {100 * p:.1f} %" for name, p in ranked)
    console.print(f"  verdict: {found.verdict}; classes: {shown}")
    if hold_sets(list(found.probabilities)):
        of_kinds = ", ".join(f"{kind} {100 * p:.1f} %" for kind, p in found.kinds.items())
        console.print(f"  kinds, whatever else is there: {of_kinds}")
    if found.verdict in found.probabilities and found.verdict != PRISTINE:
        _print_estimates(console, found)
    for note in filter(None, (found.objection, *found.notes)):
        console.print(f"  note: {note}")


def _print_estimates(console: Console, found: Prediction) -> None:
    if found.opinion.fraction:
        value, deviation = (100 * x for x in found.opinion.fraction)
        console.print(f"  network: {value:.2f} +- {deviation:.2f} defects per 100 host atoms")
    if fit := found.fits.get(found.most_likely):
        value, deviation = (100 * x for x in fit.fraction)
        of_elements = ", ".join(f"{name} {100 * p:.0f} %" for name, p in fit.elements.items())
        of_what = f" of {of_elements}" if of_elements else ""
        console.print(f"  fit as {found.most_likely}: {value:.2f} +- {deviation:.2f}{of_what}")
