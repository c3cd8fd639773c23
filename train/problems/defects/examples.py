"""The rows of a store of defects: variants of hosts, of which each has some kinds of defect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from defectgen.hosts.elements import atomic_number
from train.data.examples import Examples, Grouping, Reading, Signature, fingerprint_of
from train.data.store import Dataset
from train.problems.defects.trace import Trace

REFINED = "g_host"
"""The array of the hosts that were refined against each sample, where a store has it."""
PRISTINE = "pristine"  # the class of no defect at all, where a run has it
FRACTION_UNIT = 0.1  # of concentrations as networks give them
SPLIT_MEANING = {
    "host": "all entries of one element in one space group stay in one part",
    "element": "all entries of one element stay in one part",
    "space_group": "the test part is all of this space group, which training never saw",
    "row": "single PDFs at random: test hosts are also in training",
}
"""`host` is the honest default: the entries differ by little more than a strain. `element` is
harder. `row` shuffles single (structure, variant) rows, as the reference study did."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DefectExamples(Examples):
    """Targets are `class` (n,) and `regression` (n, 2), as of `regression_of`."""

    label: np.ndarray  # (S, V): 0 pristine, 1.. a defect class, -1 quarantined
    concentration: np.ndarray  # (S, V), fraction of host atoms
    impurity: np.ndarray  # (S, V) atomic number, 0 for none
    element: np.ndarray  # (S,) str, as origin
    origin: np.ndarray
    space_group: np.ndarray  # (S,) int
    host_number: np.ndarray  # (S,) atomic number of the host
    classes: tuple[str, ...]  # names of label 1, 2, ..., and last PRISTINE where it is one
    trace: Trace
    points: np.ndarray  # (R,) along the trace

    @property
    def target(self) -> np.ndarray:
        """(n,) class 0..C-1 of every row."""
        return self.targets["class"]


def classes_of(data: Dataset, with_pristine: bool) -> tuple[str, ...]:
    """Names of label 1, 2, ... of a store, and last PRISTINE where it is to be one.

    ValueError if the store does not say what its labels are.
    """
    flags = data.attributes_of("label")
    try:
        meaning = dict(zip(flags["flag_values"], flags["flag_meanings"].split(), strict=True))
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{data.path} is not a store of defects: its label has no flag_meanings ({error})"
        ) from error
    names = tuple(meaning[value] for value in sorted(meaning) if value > 0)
    return (*names, PRISTINE) if with_pristine else names


def read_examples(
    data: Dataset,
    trace: Trace | None = None,
    with_pristine: bool = False,
    absorbed: Sequence[str] | None = None,
) -> DefectExamples:
    """All variants of a store that hold a defect; ValueError if there is none.

    Args:
        trace: to tell them from; as of `Trace.of` if not given.
        with_pristine: have a sample of each host itself, too, of a class of their own.
        absorbed: what is refined of the host. If cell and displacements are among it, each sample
            is compared with the host that was refined against it, where the store has that.
    """
    trace = trace or Trace.of(data)
    names = ("label", "concentration", "impurity", "space_group", "element", "origin")
    columns = {name: data.column(name) for name in names}
    label, classes = columns["label"], classes_of(data, with_pristine)
    rows = np.argwhere(label >= (0 if with_pristine else 1))
    if not len(rows):
        raise ValueError(f"{data.path} has no {trace.title[:-1]} of a defective crystal")
    structure, variant = rows.T
    number = np.array([atomic_number(symbol) for symbol in columns["element"]])
    of_row = label[structure, variant].astype(np.int64)
    regression = regression_of(
        torch.from_numpy(columns["concentration"][structure, variant]),
        torch.from_numpy(columns["impurity"][structure, variant]),
        torch.from_numpy(number[structure]),
    )
    element, space_group = columns["element"], columns["space_group"]

    def described(host: int) -> str:
        return f"{data.id[host]} ({element[host]}, {space_group[host]})"

    return DefectExamples(
        data=data,
        rows=rows,
        inputs=(_host_of(data, trace, absorbed or ()), Reading(trace.array)),
        targets={
            "class": np.where(of_row, of_row, len(classes)) - 1,
            "regression": regression.numpy(),
        },
        splits=_splits(data.id, element, space_group, rows),
        fingerprint=fingerprint_of(data.id, label.astype(np.int8)),
        present=label >= 0,
        described=described,
        signature=Signature(trace.array, f"pristine {trace.quantity}"),
        title=trace.title,
        counted={"elements": element},
        host_number=number,
        classes=classes,
        trace=trace,
        points=data.column(trace.axis),
        **columns,
    )


def _host_of(data: Dataset, trace: Trace, absorbed: Sequence[str]) -> Reading:
    """What a sample is compared with."""
    if trace.is_pdf and REFINED in data.names and {"cell", "uiso"} <= set(absorbed):
        return Reading(REFINED)
    return Reading(trace.array, variant=0)


def regression_of(
    concentration: torch.Tensor, impurity: torch.Tensor, host: torch.Tensor
) -> torch.Tensor:
    """(n, 2) concentration / FRACTION_UNIT and ln of the ratio of atomic numbers.

    Args:
        concentration: (n,) of defects, per host atom.
        impurity: (n,) atomic number, 0 for none.
        host: (n,) atomic number.
    """
    foreign = impurity.long()
    ratio = torch.where(foreign > 0, foreign, host) / host
    return torch.stack([concentration / FRACTION_UNIT, ratio.log()], dim=1).float()


def _splits(
    ids: np.ndarray, element: np.ndarray, space_group: np.ndarray, rows: np.ndarray
) -> dict[str, Grouping]:
    structure, variant = rows.T
    elements, of_element = np.unique(element, return_inverse=True)
    numbers, of_number = np.unique(space_group, return_inverse=True)
    pairs, of_pair = np.unique(of_element * len(numbers) + of_number, return_inverse=True)
    symbol, stratum = elements[pairs // len(numbers)], numbers[pairs % len(numbers)]

    def name_of_pair(group: int) -> str:
        return f"{symbol[group]} {stratum[group]}"

    def name_of_row(row: int) -> str:
        return f"{ids.item(structure.item(row))}#{variant.item(row)}"

    of_row = of_pair[structure]
    splits = {
        "host": Grouping(name_of_pair, of_row, SPLIT_MEANING["host"], stratum),
        "element": Grouping(elements.item, of_element[structure], SPLIT_MEANING["element"]),
    }
    for number in np.unique(space_group[np.unique(structure)]).tolist():
        splits[f"space_group:{number}"] = Grouping(
            name_of_pair, of_row, SPLIT_MEANING["space_group"], stratum, test=stratum == number
        )
    every = np.arange(len(rows))
    return splits | {"row": Grouping(name_of_row, every, SPLIT_MEANING["row"], leaks=True)}
