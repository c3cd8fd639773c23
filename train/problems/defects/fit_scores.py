"""How good fits are of the rows of a store: `defectpdf evaluate --fit`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from defectgen.hosts.elements import LIGHT, atomic_number
from defectgen.hosts.host import Host
from defectgen.point_defects.settings import KINDS
from defectgen.stages.relaxed import Relaxed
from hpc.description import RunDescription
from hpc.store.inputs import has_its_items
from hpc.store.store import Store
from train.judging.evaluation import Judged
from train.judging.scores import score_errors
from train.problems.defects.defect_fit import DefectFit, KindFit, relaxed_only
from train.problems.defects.errors import Errors, RowErrors
from train.problems.defects.examples import REFINED, DefectExamples
from train.problems.defects.inputs import PairInput
from train.problems.defects.relaxed_means import in_cell

if TYPE_CHECKING:
    from train.problems.defects.task import DefectTask

_SEED = 0
"""Of the errors that fits see."""


def score_fits(found: Judged, problem: DefectTask) -> dict[str, Any]:
    """How good fits are of the rows of a part that have one kind of defect.

    Returns:
        `n`; `accuracy` of the kind of most evidence; of the `fraction` in it the mean absolute
        error, by class as well, and which part of the rows lies within one and two standard
        deviations; `element_accuracy`, how often the likeliest element is the impurity.

    Raises:
        ValueError: the store lacks the hosts that it was made from, or the part such rows.
    """
    examples = cast(DefectExamples, found.examples)
    names = np.array(problem.classes)[examples.target[found.rows]]
    single = np.flatnonzero(np.isin(names, KINDS))
    if not len(single):
        raise ValueError(f"{examples.path}: the part has no PDF of a single kind of defect")
    fits = fit_rows(examples, found.rows[single], problem.inputs(), problem.recipe.errors)
    at = tuple(examples.rows[found.rows[single]].T)
    kinds = [max(of_row, key=lambda kind: of_row[kind].log_evidence) for of_row in fits]
    chosen = [of_row[kind] for of_row, kind in zip(fits, kinds, strict=True)]
    median, deviation = np.array([fit.fraction for fit in chosen]).T
    error = median - examples.concentration[at]
    impurity = examples.impurity[at]
    likeliest = np.array(
        [atomic_number(next(iter(fit.elements))) if fit.elements else 0 for fit in chosen]
    )
    is_impure = impurity > 0
    return {
        "n": len(single),
        "accuracy": float(np.mean(names[single] == kinds)),
        "fraction": score_errors(error, deviation, names[single]),
        "element_accuracy": (
            float(np.mean((impurity == likeliest)[is_impure])) if is_impure.any() else None
        ),
    }


def fit_rows(
    examples: DefectExamples, rows: np.ndarray, inputs: PairInput, errors: Errors
) -> list[dict[str, KindFit]]:
    """Fits of positions (n,) in `examples.rows`, each in the host as the store's library has it.

    Args:
        errors: that the samples' traces are given.
    """
    whole = Store(examples.path)
    if not has_its_items(whole):
        raise ValueError(f"{examples.path} does not hold the library.json that it was made with")
    description, hosts = whole.description, cast("Sequence[Host]", whole.items)
    relaxed = _relaxed(description, examples)
    if description.pdf.instruments.ranges:
        raise ValueError(f"{examples.path}: each of its hosts has an instrument, and fits know one")
    if relaxed and (light := set(description.defects.impurities) & set(LIGHT)):
        raise ValueError(
            f"{examples.path}: {', '.join(sorted(light))} among its impurities, and fits of "
            "relaxed defects know metals only"
        )
    row_errors = RowErrors(errors, examples.id, examples.rows, examples.points, _SEED)
    structure = examples.rows[rows, 0]
    fits: dict[int, dict[str, KindFit]] = {}
    for index in np.unique(structure).tolist():
        mine = np.flatnonzero(structure == index)
        pristine, changes = _changes(examples, rows[mine], row_errors, relaxed is not None)
        fit = DefectFit(
            hosts[index],
            description.defects,
            description.pdf,
            inputs,
            relaxed=relaxed,
            scale=errors.scale / math.sqrt(3),
        )
        fits |= zip(mine.tolist(), fit(pristine, pristine + changes), strict=True)
    return [fits[row] for row in range(len(rows))]


def _relaxed(description: RunDescription, examples: DefectExamples) -> Relaxed | None:
    """How atoms relax in fits, which is for samples beside refined hosts."""
    refined = examples.inputs[0].array == REFINED
    return relaxed_only(description.stages) if refined else None


def _changes(
    examples: DefectExamples, rows: np.ndarray, errors: RowErrors, refined: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(R,) G(r) of a host, and (n, R) what parts its rows, with errors, from it, 1/A^2.

    Args:
        refined: part them from the host that was refined against each, in the host's own cell.
    """
    structure, variant = examples.rows[rows].T
    g = torch.from_numpy(examples.read(examples.trace.array, structure[:1])[0])
    pristine = g[0].numpy().astype(float)
    host = g[:1].expand(len(rows), -1)
    if refined:
        host = torch.from_numpy(examples.read(REFINED, structure[:1])[0])[variant]
    host, samples = errors.pair(host, g[variant], rows, 0)
    changes = (samples - host).numpy().astype(float)
    if not refined:
        return pristine, changes
    cell = examples.data.column("refined_cell")[structure[0]]
    stretch = np.cbrt(np.prod(cell[variant] / cell[0], axis=1))
    of_rows = zip(changes, stretch.tolist(), strict=True)
    return pristine, np.stack([in_cell(examples.points, *one) for one in of_rows])
