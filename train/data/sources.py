"""Where samples come from: the rows of a store, or what a problem draws anew."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from train.data.examples import Examples
from train.data.reading import Held, Share, hosts_at_once, read_ahead
from train.setup.distributed import World
from train.setup.memory import memory_limit

_SHARE_OF_MEMORY = 0.25
"""Part of the memory that samples may take; networks, draws and the rest need theirs."""
_COPIES = 4
"""In memory of what the store has: itself, two in a pair, and one while that is made."""
_READ_AT_ONCE = 256
"""Structures read from disk together: several shards, which are decompressed in parallel."""


class Batch(NamedTuple):
    """Rows on the device."""

    inputs: Tensor  # (n, ...) as of the module of `Problem.inputs`
    targets: dict[str, Tensor]  # (n, ...) each, by name as in `Examples.targets`


class Source(Protocol):
    @property
    def examples(self) -> Examples: ...

    def samples(self, rows: np.ndarray, epoch: int = 0) -> Batch:
        """Samples for positions (n,) in `Examples.rows`, in that order; n is not 0."""
        ...

    def in_turn(self, shares: Iterable[Share], epoch: int) -> Generator[Batch]:
        """The samples of each share's rows; shares may be asked for one ahead."""
        ...


class StoreSource:
    """The rows as they are in the store: kept on the device, or read when they are asked for."""

    def __init__(
        self, examples: Examples, inputs: nn.Module, device: torch.device, resident: bool
    ) -> None:
        self.examples, self.inputs, self.device = examples, inputs.to(device), device
        self._kept: dict[str, Tensor] | None = None
        if resident:
            everything = np.arange(examples.n_structures)
            whole = self._read(everything)
            self._kept = {name: torch.from_numpy(of).to(device) for name, of in whole.items()}

    def samples(self, rows: np.ndarray, epoch: int = 0) -> Batch:
        """ValueError if a value is not finite."""
        return self._samples_of(rows, epoch, None)

    def in_turn(self, shares: Iterable[Share], epoch: int) -> Generator[Batch]:
        """ValueError if a value is not finite or the store is damaged."""
        if self._kept is not None:
            for share in shares:
                yield self.samples(share.rows, epoch)
            return
        like = {name: self.examples.data.empty(name) for name in self.examples.arrays}
        ahead = read_ahead(shares, self._read, like, self.examples.block_size)
        with closing(ahead):
            for share, held in ahead:
                yield self._samples_of(share.rows, epoch, held)

    def _samples_of(self, rows: np.ndarray, epoch: int, held: Held | None) -> Batch:
        targets = {
            name: torch.from_numpy(values[rows]).to(self.device)
            for name, values in self.examples.targets.items()
        }
        return Batch(self._inputs(rows, epoch, held), targets)

    def _inputs(self, rows: np.ndarray, epoch: int, held: Held | None) -> Tensor:
        structure = self.examples.rows[rows, 0]
        if self._kept is not None:
            return self.made_of(self._taken(self._kept, structure, rows), rows, epoch)
        found: Tensor | None = None
        structures, place = np.unique(structure, return_inverse=True)
        for start in range(0, len(structures), _READ_AT_ONCE):
            stop = start + _READ_AT_ONCE
            here = np.flatnonzero((place >= start) & (place < stop))
            read = held.of if held else self._read
            values = {n: torch.from_numpy(of) for n, of in read(structures[start:stop]).items()}
            taken = self._taken(values, place[here] - start, rows[here])
            made = self.made_of(taken, rows[here], epoch)
            if found is None:
                found = made.new_empty((len(structure), *made.shape[1:]))
            found[torch.from_numpy(here).to(self.device)] = made
        assert found is not None, "there are rows"
        return found

    def made_of(self, taken: Sequence[Tensor], rows: np.ndarray, epoch: int) -> Tensor:
        """Inputs (n, ...) of rows (n,) in an epoch, from what the store has of them, (n, ...) each.

        For sources that add something of their own.
        """
        return self.inputs(*taken)

    def _taken(
        self, values: Mapping[str, Tensor], structure: np.ndarray, rows: np.ndarray
    ) -> list[Tensor]:
        """What is read of rows (n,), of which the structures are at places (n,) in `values`."""
        variant = self.examples.rows[rows, 1]
        taken = []
        for reading in self.examples.inputs:
            own = variant if reading.variant is None else np.full_like(variant, reading.variant)
            array = values[reading.array]
            at, of = (torch.from_numpy(index).to(array.device) for index in (structure, own))
            taken.append(array[at, of].to(self.device))
        return taken

    def _read(self, structures: np.ndarray) -> dict[str, np.ndarray]:
        """(n, V, ...) by array, of ascending structures."""
        some = None if len(structures) == self.examples.n_structures else structures
        return {name: self.examples.read(name, some) for name in self.examples.arrays}


@dataclass(frozen=True)
class Sources:
    """Where a run's samples come from."""

    stored: StoreSource
    training: Source
    held_out: Source
    """Of validation samples: the store, unless what training varies has to vary there, too."""

    @property
    def varies(self) -> bool:
        """Whether validation samples are others than the store's."""
        return self.held_out is not self.stored


def fits_in_memory(examples: Examples, world: World) -> bool:
    """Whether a process can hold all that is read of a store and an epoch's samples."""
    return _COPIES * examples.bytes_per_structure * examples.n_structures <= _budget(world)


def window_of(examples: Examples, most: int | None, world: World) -> int | None:
    """Structures whose samples to have in memory at once, at the most so many; None for all."""
    hosts = examples.n_structures
    if not fits_in_memory(examples, world):
        held = _COPIES * examples.bytes_per_structure
        hosts = hosts_at_once(_budget(world), held, examples.block_size)
    if most is not None:
        hosts = min(hosts, most)
    if hosts >= examples.n_structures:
        return None
    return max(examples.block_size, hosts - hosts % examples.block_size)


def _budget(world: World) -> int:
    if world.device.type == "cuda":
        return int(_SHARE_OF_MEMORY * torch.cuda.mem_get_info(world.device)[1])
    return int(_SHARE_OF_MEMORY * memory_limit() / world.local_size)
