"""What of a store is learned from, in terms that hold for any problem."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from train.data.store import Dataset


class Reading(NamedTuple):
    """One of the arrays that a row's input is made of."""

    array: str
    """(structure, variant, ...) of the store."""
    variant: int | None = None
    """The same for all rows, as 0 for the host as it is; None for the row's own."""


@dataclass(frozen=True, eq=False)
class Grouping:
    """A way to part rows: those of one of k groups stay in one part.

    Args:
        name: of group 0..k-1, unique in its stratum.
        of_row: (n,) group of each row.
        meaning: what is held out together, for readers.
        stratum: (k,) of each group; each gives about a tenth of its rows to a held-out part. None
            if all are of one.
        test: (k,) whether a group is in the test part, where that is not drawn.
        leaks: whether rows of one structure come into different parts, on purpose.
    """

    name: Callable[[int], str]
    of_row: np.ndarray
    meaning: str
    stratum: np.ndarray | None = None
    test: np.ndarray | None = None
    leaks: bool = False

    @classmethod
    def by(cls, values: np.ndarray, meaning: str) -> Grouping:
        """Rows of the same value (n,) of text stay together."""
        names, of_row = np.unique(values, return_inverse=True)
        return cls(names.item, of_row, meaning)


class Signature(NamedTuple):
    """What is nearly the same for two structures that are one under two names."""

    array: str
    """(structure, variant, ...) of the store, of which variant 0 is compared."""
    title: str
    """As in "pristine G(r)"."""


@dataclass(frozen=True, eq=False)
class Examples:
    """n rows of a store and what is to be said of each.

    Args:
        rows: (n, 2) structure and variant of each, in the order of the store.
        inputs: what the module of `Problem.inputs` is given, argument by argument.
        targets: by name, (n, ...) what is to be found, or helps to say how well it was. All in
            memory, on every process. `class` (n,) int64, `labels` (n, L) 0 or 1 and `regression`
            (n, K) float32 are those that calibration and scores know.
        splits: by the names that `--split` takes; the first is the default.
        fingerprint: equal if a split of one store is a split of the other.
        present: (S, V) whether values of a variant are there, and must be finite.
        described: structure 0..S-1 for messages.
        signature: None where no structure looks like another.
        title: what rows are, as in "PDFs".
        counted: by name, (S,) what reports count the different ones of in each part.
    """

    data: Dataset
    rows: np.ndarray
    inputs: tuple[Reading, ...]
    targets: Mapping[str, np.ndarray]
    splits: Mapping[str, Grouping]
    fingerprint: str
    present: np.ndarray
    described: Callable[[int], str]
    signature: Signature | None = None
    title: str = "rows"
    counted: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.data.path

    @property
    def id(self) -> np.ndarray:
        """(S,) str of the structures."""
        return self.data.id

    @property
    def n_structures(self) -> int:
        return len(self.id)

    def grouping(self, split: str) -> Grouping:
        """One of the splits; ValueError if there is none of this name."""
        if split not in self.splits:
            raise ValueError(
                f"split {split!r} of {self.path} is not one of {', '.join(self.splits)}"
            )
        return self.splits[split]

    @cached_property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays that the inputs are read from."""
        return tuple(dict.fromkeys(reading.array for reading in self.inputs))

    @cached_property
    def block_size(self) -> int:
        """Structures that are best read together."""
        return max(self.data.block_size(name) for name in self.arrays)

    @cached_property
    def bytes_per_structure(self) -> int:
        return sum(self.data.bytes_per_structure(name) for name in self.arrays)

    def read(
        self, name: str, structures: np.ndarray | None = None, variants: slice = slice(None)
    ) -> np.ndarray:
        """(n, v, ...) of ascending structures, of all if none are given.

        Raises:
            ValueError: the store is damaged there, or what is present is not finite.
        """
        values = self.data.read(name, structures, variants)
        chosen = np.arange(self.n_structures) if structures is None else structures
        finite = np.isfinite(values).all(axis=tuple(range(2, values.ndim)))
        finite |= ~self.present[chosen][:, variants]
        if not finite.all():
            first = self.data.id[chosen[~finite.all(1)][0]]
            raise ValueError(
                f"{self.path} has {np.count_nonzero(~finite)} labelled {self.title} that are not "
                f"finite, the first of structure {first}; run `defectpdf verify`"
            )
        return values


def fingerprint_of(ids: Iterable[str], *columns: np.ndarray) -> str:
    """Hash of ids and of what decides which rows there are."""
    digest = hashlib.sha256()
    for place, name in enumerate(ids):
        digest.update(f"\n{name}".encode() if place else name.encode())
    for column in columns:
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()
