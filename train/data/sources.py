"""Where samples come from: a store's rows, or fresh defects in its hosts."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from train.data.reading import Held, Share, hosts_at_once, read_ahead
from train.data.store import PDFStore, require_finite
from train.problems.defects.fresh_draws import FreshDraws, Variation
from train.problems.defects.inputs import PairInput
from train.setup.distributed import World
from train.setup.memory import memory_limit
from train.setup.recipes import Recipe

FRACTION_UNIT = 0.1  # of concentrations as networks give them
_SHARE_OF_MEMORY = 0.25
"""Part of the memory that samples may take; networks, draws and the rest need theirs."""
_TRACES = 4
"""Traces in memory for each of the store's: itself, two in a pair, and one while that is made."""
_READ_AT_ONCE = 256
"""Hosts read from disk together: several shards, which are decompressed in parallel."""
_DRAWN_AT_ONCE = 4096
"""Hosts. More would take longer to draw than a process has that is asked to stop."""


@dataclass(frozen=True)
class Samples:
    """Rows on the device."""

    pairs: torch.Tensor  # (n, 2, R) scaled
    target: torch.Tensor  # (n,) class 0..C-1
    regression: torch.Tensor  # (n, 2) concentration / FRACTION_UNIT, ln of atomic-number ratio


class Source(Protocol):
    def samples(self, rows: np.ndarray, epoch: int = 0) -> Samples:
        """Samples for positions (n,) in `PDFStore.rows`, in that order."""
        ...

    def in_turn(self, shares: Iterable[Share], epoch: int) -> Generator[Samples]:
        """The samples of each share's rows; shares may be asked for one ahead."""
        ...


class StoreSource:
    """The rows as they are in the store: kept on the device, or read when they are asked for."""

    def __init__(
        self, store: PDFStore, inputs: PairInput, device: torch.device, resident: bool
    ) -> None:
        self.store, self.inputs, self.device = store, inputs.to(device), device
        self._g = None
        if resident:
            self._g = torch.from_numpy(self._read(np.arange(len(store.id)))).to(device)

    def samples(self, rows: np.ndarray, epoch: int = 0) -> Samples:
        """ValueError if a trace is not finite."""
        return self._samples_of(rows, None)

    def in_turn(self, shares: Iterable[Share], epoch: int) -> Generator[Samples]:
        """ValueError if a trace is not finite or the store is damaged."""
        if self._g is not None:
            for share in shares:
                yield self.samples(share.rows, epoch)
            return
        store = self.store
        ahead = read_ahead(shares, self._read, store.g.shape[1:], store.block_size)
        with closing(ahead):
            for share, held in ahead:
                yield self._samples_of(share.rows, held)

    def _samples_of(self, rows: np.ndarray, held: Held | None) -> Samples:
        store = self.store
        structure, variant = store.rows[rows].T
        return _samples(
            self._pairs(structure, variant, held),
            store.target[rows],
            torch.from_numpy(store.concentration[structure, variant]),
            torch.from_numpy(store.impurity[structure, variant]),
            store.host_number[structure],
        )

    def _pairs(self, structure: np.ndarray, variant: np.ndarray, held: Held | None) -> torch.Tensor:
        if self._g is not None:
            at, of = (torch.from_numpy(index).to(self.device) for index in (structure, variant))
            return self.inputs(self._g[at, 0], self._g[at, of])
        pairs = torch.empty((len(structure), 2, len(self.store.r)), device=self.device)
        structures, place = np.unique(structure, return_inverse=True)
        for start in range(0, len(structures), _READ_AT_ONCE):
            stop = start + _READ_AT_ONCE
            read = held.of if held else self._read
            g = torch.from_numpy(read(structures[start:stop]))
            here = np.flatnonzero((place >= start) & (place < stop))
            at = torch.from_numpy(place[here] - start)
            pristine, defective = (g[at, of].to(self.device) for of in (0, variant[here]))
            pairs[torch.from_numpy(here).to(self.device)] = self.inputs(pristine, defective)
        return pairs

    def _read(self, structures: np.ndarray) -> np.ndarray:
        """(n, V, R) traces of ascending structures."""
        everything = len(structures) == len(self.store.id)
        g = self.store.read(None if everything else structures)
        require_finite(self.store, structures, g)
        return g


class FreshSource:
    """Other defects in every epoch, in the hosts of the rows asked for and of the rows' kinds."""

    def __init__(
        self,
        store: PDFStore,
        inputs: PairInput,
        variation: Variation,
        seed: int,
        device: torch.device,
    ) -> None:
        self.store, self.inputs = store, inputs.to(device)
        self.draws = FreshDraws.of_store(store.path, variation, seed, device)

    def in_turn(self, shares: Iterable[Share], epoch: int) -> Generator[Samples]:
        for share in shares:
            yield self.samples(share.rows, epoch)

    def samples(self, rows: np.ndarray, epoch: int = 0) -> Samples:
        structure, variant = self.store.rows[rows].T
        label = self.store.label[structure, variant]
        drawn = self.draws.draw(structure, label, variant, epoch)
        pairs = self.inputs(drawn.pristine, drawn.defective)
        number = self.store.host_number[structure]
        return _samples(
            pairs, self.store.target[rows], drawn.concentration, drawn.atomic_number, number
        )


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

    @classmethod
    def of(
        cls, store: PDFStore, recipe: Recipe, inputs: PairInput, seed: int, world: World
    ) -> Sources:
        stored = StoreSource(store, inputs, world.device, fits_in_memory(store, world))
        if recipe.draws == "store":
            return cls(stored, stored, stored)

        def drawn() -> FreshSource:
            return FreshSource(store, inputs, recipe.variation, seed, world.device)

        varies = recipe.variation != Variation()
        return cls(stored, drawn(), drawn() if varies else stored)


def _samples(
    pairs: torch.Tensor,
    target: np.ndarray,
    concentration: torch.Tensor,
    impurity: torch.Tensor,
    host: np.ndarray,
) -> Samples:
    """Samples of classes (n,), concentrations, atomic numbers of impurity (0: none) and host."""
    device = pairs.device
    own = torch.from_numpy(host).to(device)
    foreign = impurity.to(device).long()
    ratio = torch.where(foreign > 0, foreign, own) / own
    regression = torch.stack([concentration.to(device) / FRACTION_UNIT, ratio.log()], dim=1)
    return Samples(pairs, torch.from_numpy(target).to(device), regression.float())


def fits_in_memory(store: PDFStore, world: World) -> bool:
    """Whether a process can hold all of a store's traces and an epoch's samples."""
    return _host_bytes(store) * len(store.id) <= _budget(world)


def window_of(store: PDFStore, draws: str, world: World) -> int | None:
    """Hosts whose samples to have in memory at once; None for all."""
    hosts = len(store.id)
    if not fits_in_memory(store, world):
        hosts = hosts_at_once(_budget(world), _host_bytes(store), store.block_size)
    if draws == "streaming":
        hosts = min(hosts, _DRAWN_AT_ONCE)
    if hosts >= len(store.id):
        return None
    return max(store.block_size, hosts - hosts % store.block_size)


def _host_bytes(store: PDFStore) -> int:
    return _TRACES * 4 * math.prod(store.g.shape[1:])


def _budget(world: World) -> int:
    if world.device.type == "cuda":
        return int(_SHARE_OF_MEMORY * torch.cuda.mem_get_info(world.device)[1])
    return int(_SHARE_OF_MEMORY * memory_limit() / world.local_size)
