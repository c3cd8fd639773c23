"""What runs are made of: items, samples of these, and what may be plugged in there.

A source says which items there are and draws samples of each; stages change samples, one after the
other; observables (`hpc.observables`) compute what an experiment would see of them. Each of them
declares the arrays that a store keeps for it. All are frozen pydantic models, of which the fields
are the settings that a run description has, and are found by name (`defectgen.plugins`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel

if TYPE_CHECKING:
    from pdfcalc.crystals.structure import AtomicStructure
    from pdfcalc.pdf.lattice import Change, LatticeCrystal

ATOM = "atom"
"""The ragged dimension: as long as a sample has atoms. It is a field's first own one."""


class UnusableItem(ValueError):
    """An item that makes no sense as it is. It is quarantined at once, with this as the reason.

    Any other exception, ValueError as well, is a fault of the program: what met it is tried again.
    """


@dataclass(frozen=True)
class Field:
    """An array that a store has because somebody declared it.

    Args:
        dtype: name of numpy's data type, or "str".
        fill: value where nothing was computed.
        attributes: `long_name`, `units` (udunits) and others, for readers of the store.
        dims: dimensions after (structure, variant); each has coordinates, but for ATOM.
        per_variant: False for a column: one value, or one array, a structure.
    """

    dtype: str
    fill: Any
    attributes: Mapping[str, Any]
    dims: tuple[str, ...] = ()
    per_variant: bool = True

    @property
    def is_ragged(self) -> bool:
        """Whether samples have as many entries as atoms."""
        return self.dims[:1] == (ATOM,)


class Coordinate(NamedTuple):
    """Values (n,) along a dimension, and attributes as of `Field`."""

    values: np.ndarray
    attributes: Mapping[str, Any]


class LatticeView(NamedTuple):
    """A sample as a change of a crystal on common sites, which the lattice engine takes."""

    crystal: LatticeCrystal
    change: Change


@dataclass(frozen=True, eq=False)
class Sample:
    """One variant of one item.

    Args:
        key: seed of the run, id of the item and number of the variant: all randomness of what is
            done to the sample comes from it.
        atoms: makes its atoms; to be called only by who needs them.
        lattice: the exact fast view while atoms sit on sites; what moves atoms drops it.
        crystal: unit cell of what it would be without anything done to it, which an experimenter
            would refine against it; None where there is none.
        values: what its fields store, by name.
    """

    key: tuple[int, str, int]
    atoms: Callable[[], AtomicStructure]
    lattice: LatticeView | None = None
    crystal: AtomicStructure | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def random(self, purpose: str) -> np.random.Generator:
        """Random numbers of this sample alone, others for each purpose."""
        seed, item, variant = self.key
        digest = hashlib.sha256(f"{purpose}/{item}".encode()).digest()
        words = np.frombuffer(digest[:16], dtype="<u4").tolist()
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*words, variant)))


@dataclass(frozen=True)
class Resources:
    """What one worker may use of its node.

    Args:
        threads: for what is the same with any number of them.
        device: as torch names it.
    """

    threads: int = 1
    device: str = "cpu"


class Item(Protocol):
    """What variants are made of, a frozen pydantic model; columns are its attributes."""

    @property
    def id(self) -> str:
        """Different from all other items' of a run."""
        ...

    def model_dump(self, *, mode: str) -> dict[str, Any]: ...

    def model_dump_json(self) -> str: ...


class PlugIn(Protocol):
    """What a plug-in of any sort says of itself."""

    name: ClassVar[str]
    """By which it is found."""
    revision: ClassVar[int]
    """Of its formulas. Above 1 it enters the hash of a run, so that a store is never continued by
    other formulas than it was begun with."""

    def model_dump(self, *, mode: str) -> dict[str, Any]: ...

    def fields(self) -> dict[str, Field]:
        """What the store keeps for it, by name."""
        ...

    def coordinates(self) -> dict[str, Coordinate]:
        """Of the dimensions that its fields bring, by name."""
        ...


class Source(PlugIn, Protocol):
    """Which items there are, and which samples of each.

    Fields that are not per variant are attributes of the items, written when the store is made.
    """

    @property
    def item(self) -> type[BaseModel]: ...

    @property
    def title(self) -> str:
        """As in "elemental metals with point defects"."""
        ...

    locating: ClassVar[frozenset[str]]
    """Settings that only say where items come from; the items themselves enter a run's hash."""

    @property
    def n_variants(self) -> int:
        """Samples of each item; number 0 is the item as it is."""
        ...

    def located(self, folder: Path | None, limit: int | None) -> Source:
        """With paths as seen from a folder (None: as they are), and at most so many items."""
        ...

    def suited(self, lack: Callable[[str], str | None]) -> Source:
        """Without the elements that an observable lacks, where they were not asked for by name.

        Args:
            lack: why atoms of an element can't be computed; None if they can.

        Raises:
            ValueError: one was asked for.
        """
        ...

    def digest(self) -> str:
        """Changes with whatever `items` reads, without parsing it."""
        ...

    def items(self) -> Sequence[Item]:
        """In the order of the store; those of a large library stay in its file.

        Raises:
            ValueError: there is nothing usable.
        """
        ...

    def size(self, item: Any) -> float:
        """What the time and the memory that an item takes grow with."""
        ...

    def draw(self, item: Any, seed: int) -> list[Sample]:
        """The samples of an item.

        Raises:
            UnusableItem: nothing can be drawn.
        """
        ...


class Stage(PlugIn, Protocol):
    """Something done to samples before they are observed."""

    exact: ClassVar[bool]
    """Whether it gives the same bytes on any machine; else it belongs in a run of its own."""

    def apply(self, samples: Sequence[Sample], on: Resources) -> list[Sample]:
        """As many samples, of one item, with their new values.

        Raises:
            UnusableItem: it can't be done to one of them.
        """
        ...


@runtime_checkable
class Located(Protocol):
    """What a stage has as well that needs files, or programs, of the machine."""

    locating: ClassVar[frozenset[str]]
    """Settings that only say where the files are; what is in them enters a run's hash."""

    def located(self, folder: Path | None) -> Stage:
        """With paths as seen from a folder (None: as they are), and digests of what is there.

        Raises:
            ValueError: what it needs is not there.
        """
        ...
