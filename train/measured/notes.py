"""What to be told of a measurement beside the verdict: what makes one doubt it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from pdfcalc.measured.refinement import Refinement
from train.measured.structure import Structure
from train.problems.defects.defect_fit import KindFit
from train.problems.defects.examples import PRISTINE
from train.problems.defects.inputs import ABSORBABLE
from train.problems.defects.recipes import DefectRecipe

_END = 0.95  # of the fractions that a fit tries, beyond which it asks for more
_HIGH_RW = 0.2
"""Twice what refinements of bulk metals end with: worth a look at structure and instrument."""
_MOST_RW = 0.5
"""Beyond which more of a measurement is something else than is its host."""
_POOR_ACCURACY, _POOR_RECALL, _POOR_CALIBRATION = 0.8, 0.5, 0.05
"""Of a run's own test samples: what every verdict has to say."""
_FAR = 0.02
"""Relative change of a length that a crystal's own expansion by heat rarely reaches."""


def refusals_of(structure: Structure, found: Refinement) -> list[str]:
    """Why nothing can be said of a refined measurement; empty if something can."""
    refusals = [structure.refusal] if structure.refusal else []
    if not found.rw <= _MOST_RW:
        refusals.append(f"the refined host misses the measurement, Rw {found.rw:.2f}")
    return refusals


def notes_on_refinement(found: Refinement, structure: Structure) -> Iterator[str]:
    """What makes one doubt that this is the measurement's crystal."""
    if not found.converged:
        yield "the refinement did not converge"
    if found.rw > _HIGH_RW:
        yield f"Rw is {found.rw:.2f}: is this the structure, and are qmax and the radiation right?"
    lengths = np.linalg.norm(structure.atoms.lattice, axis=1)
    for axis, before in zip("abc", lengths, strict=True):
        after = found.values.get(axis, before)
        if abs(after / before - 1) > _FAR:
            yield f"{axis} is {after:.4g} A here and {before:.4g} A in {structure.path}"


def notes_on_fit(fits: dict[str, KindFit], most_likely: str, highest: float) -> Iterator[str]:
    """Where a fit would go beyond the highest fraction that it tries."""
    if most_likely in fits and fits[most_likely].fraction[0] > _END * highest:
        yield (
            f"the fit as {most_likely} ends at {100 * highest:g} defects per 100 host atoms, the "
            "most it tries: more of them, or another defect, would fit better"
        )


def notes_on_training(
    recipe: DefectRecipe, instrument: dict[str, Any], found: Refinement, kept: Collection[str]
) -> Iterator[str]:
    """In what the run was trained for something else than this measurement.

    Args:
        instrument: that of the store, as in [pdf] of its run description.
        kept: what was not refined.
    """
    learned = set(recipe.absorbed or ()) & set(ABSORBABLE)
    odd = (set(ABSORBABLE) - set(kept)) ^ learned
    if not recipe.absorbed:
        yield "the run knows no refined hosts: train one with --recipe measured"
    elif odd:
        yield f"{', '.join(sorted(odd))}: refined in training, but not here"
    if "scale" in kept and found.values["scale"] == 1:
        yield "scale is taken to be 1: give it if it is not"
    if instrument.get("scattering") not in (None, found.parameters.scattering):
        # By which impurities have atomic numbers.
        yield "other radiation than in training: contrast is one of scattering powers"
    trained_on = {name: (value, value) for name, value in instrument.items()}
    trained_on |= recipe.variation.instrument | instrument.get("instruments", {})
    for name in sorted({"qmax", "qdamp", "qbroad"} & set(trained_on)):
        here, (low, high) = getattr(found.parameters, name), trained_on[name]
        if here is not None and not 0.98 * low <= here <= 1.02 * high:
            trained = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
            yield f"{name} is {here:.4g} 1/A here and was {trained} in training"


def notes_on_scores(scores: dict[str, Any]) -> Iterator[str]:
    """Where the run itself is not to be trusted, by its scores of its own test part."""
    recall = {name: found["recall"] for name, found in scores["per_class"].items()}
    poor = [f"{name} {rate:.0%}" for name, rate in recall.items() if not rate >= _POOR_RECALL]
    if scores["accuracy"] < _POOR_ACCURACY or poor:
        of_classes = f", {', '.join(poor)}" if poor else ""
        yield f"the run finds {scores['accuracy']:.0%} of its own test samples{of_classes}"
    if (error := scores["calibration"]["ece"]) > _POOR_CALIBRATION:
        yield f"the run's probabilities are off by {error:.0%} on its own test samples"


def notes_on_moved_atoms(most_likely: str, rigid: bool) -> Iterator[str]:
    """Of a run whose store had moved its atoms.

    Args:
        rigid: whether fits have them on their sites all the same.
    """
    if most_likely != PRISTINE:
        yield "to such a run other faults look like defects: see `defectpdf analyse`"
    if rigid:
        yield "fits take atoms to be on their sites, where training had them not"


def notes_on_range(recipe: DefectRecipe, r: np.ndarray, found: Refinement) -> Iterator[str]:
    """Where r begins later, or ends sooner, than in all of training, which had r (R,), A."""
    step = float(np.diff(r).mean())
    first, last = r[0], r[-1]
    if found.r[0] > first + step:
        yield f"r begins at {found.r[0]:.4g} A here and at {first:.4g} A in training"
    soonest, _ = recipe.variation.rmax or recipe.errors.rmax or (last, last)
    if found.r[-1] < min(soonest, last) - step:
        yield f"r ends at {found.r[-1]:.4g} A here and at {soonest:.4g} A or more in training"
