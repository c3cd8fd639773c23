"""Fresh defects for each epoch of a training, in cells and instruments that may vary as well.

All that is random in a row comes from (seed, host id, number, label, epoch). On a CPU a row is the
same to the last bit whatever other rows are asked for, in whatever order and by how many threads.
On a GPU its defects are, and its G(r) but for the last digits, since hosts that are prepared
together share tables there. It has not been run on a GPU yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from defectgen.host import Host
from defectgen.random_words import normal, random_words, uniform
from defectgen.settings import KINDS, DefectSettings
from defectgen.variants import HostSupercell, Variant
from hpc.description import PDFSettings, first_mistake
from hpc.store import Store
from hpc.streaming import VariantStream

_INSTRUMENTS = 32
"""Instruments in use at once: preparing one takes as long as many PDFs."""
_TOGETHER = 256
"""Hosts that are prepared together, which bounds the memory."""
_MOST_KEPT = 1536
"""Prepared hosts that are kept for the next call, each some 0.4 MB."""
_SCALE, _DEVIATION, _NOISE = -1, -2, -3
"""Counters of the random words that spoil a row; those of its defects have another seed."""


class Variation(BaseModel):
    """What varies beside the defects; nothing does by default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    strain: float = Field(
        0.0, ge=0, lt=0.2, description="largest relative change of a and, where it is free, of c"
    )
    uiso: float = Field(
        0.0, ge=0, le=10, description="x: the host's Uiso times 1 / (1 + x) to 1 + x, log-uniform"
    )
    qmax: tuple[float, float] | None = Field(None, description="range, uniform, 1/A")
    qdamp: tuple[float, float] | None = Field(None, description="range, uniform, 1/A")
    qbroad: tuple[float, float] | None = Field(None, description="range, uniform, 1/A")
    scale: float = Field(
        0.0, ge=0, lt=1, description="x: the defective trace times 1 - x to 1 + x, uniform"
    )
    noise: float = Field(
        0.0,
        ge=0,
        description="largest standard deviation of white noise on the defective trace, over the "
        "largest |G| of the pristine one; uniform from 0",
    )
    epochs: int = Field(
        1,
        ge=1,
        description="how long a varied cell or instrument stays in use; a CPU core takes some 5 ms "
        "to prepare another for a host, as long as for 25 of its PDFs",
    )

    @model_validator(mode="after")
    def _rising(self) -> Variation:
        for name, (low, high) in self.instrument.items():
            if not 0 <= low <= high:
                raise ValueError(f"{name} = [{low:g}, {high:g}]: need 0 <= low <= high")
        return self

    @property
    def instrument(self) -> dict[str, tuple[float, float]]:
        """Ranges of what varies of the instrument, by name."""
        ranges = {"qmax": self.qmax, "qdamp": self.qdamp, "qbroad": self.qbroad}
        return {name: range_ for name, range_ in ranges.items() if range_ is not None}

    @property
    def needs_preparing(self) -> bool:
        """Whether hosts or instruments change from time to time."""
        return bool(self.strain or self.uiso or self.instrument)


@dataclass(frozen=True, eq=False)
class FreshPDFs:
    """Pairs of traces as a network takes them, n rows of R points, on the device.

    Args:
        pristine: (n, R) float32 G(r) of each row's host, 1/A^2.
        defective: (n, R) float32 G(r) of its variant, 1/A^2.
        concentration: (n,) float32 number of defects as a fraction of the host's atoms.
        atomic_number: (n,) int64 of the impurity, 0 where there is none.
    """

    pristine: Tensor
    defective: Tensor
    concentration: Tensor
    atomic_number: Tensor


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Some hosts in one generation of their cells and one instrument.

    `place` gives each host's index in the stream and in `pristine` (H, R).
    """

    pdf: PDFSettings
    stream: VariantStream
    place: dict[int, int]
    pristine: Tensor


class FreshDraws:
    """Hosts of which any number of defects can be drawn for any epoch.

    Args:
        pdf: grid and instrument; what varies of the instrument replaces what this has.

    Raises:
        ValueError: an end of a range is not possible with the r grid of `pdf`.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        defects: DefectSettings,
        pdf: PDFSettings,
        variation: Variation,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._hosts, self._defects, self._pdf = hosts, defects, pdf
        self._variation, self._seed, self._device = variation, seed, torch.device(device)
        for end in (0, 1):
            ends = {name: range_[end] for name, range_ in variation.instrument.items()}
            try:
                PDFSettings.model_validate(pdf.model_dump() | ends)
            except ValidationError as error:
                raise ValueError(f"the instrument can't vary so: {first_mistake(error)}") from None
        ids = [host.id for host in hosts]
        n_groups = _INSTRUMENTS if variation.instrument else 1
        self._group = np.array([_word(id_) % n_groups for id_ in ids], dtype=np.int64)
        self._words = torch.tensor([_word(f"{seed}/{id_}") for id_ in ids], dtype=torch.int64)
        self._generation: dict[int, int] = {}
        self._kept: dict[int, dict[int, _Prepared]] = {}

    @classmethod
    def of_store(
        cls, path: Path, variation: Variation, seed: int, device: torch.device | str = "cpu"
    ) -> FreshDraws:
        """Draws of a store's hosts, by their place in the store, with its settings.

        Raises:
            ValueError: there is no store, or it lacks the hosts that it was made from.
        """
        store = Store(path)
        if not store.has_its_hosts():
            raise ValueError(
                f"{path / 'library.json'} does not hold the hosts of the store: put back the file "
                "that the store was made with"
            )
        description = store.description
        return cls(store.hosts, description.defects, description.pdf, variation, seed, device)

    def sample(
        self, host: np.ndarray, label: np.ndarray, number: np.ndarray, epoch: int
    ) -> FreshPDFs:
        """Draw defects and compute both traces of n rows.

        Args:
            host: (n,) index of each row's host.
            label: (n,) kind of defect, 1 + its place in `KINDS`; 0 for none.
            number: (n,) which draw of its host and label in the epoch it is.

        Raises:
            ValueError: a label is of no kind, or a host has no room for its defects.
        """
        host, label, number = (np.asarray(row, dtype=np.int64) for row in (host, label, number))
        if len(label) and not 0 <= label.min() <= label.max() <= len(KINDS):
            wrong = label.min() if label.min() < 0 else label.max()
            raise ValueError(f"label {wrong}: the kinds of defect are 0 to {len(KINDS)}")
        seeds = self._row_seeds(host, label, number, epoch)
        shape, device = (len(host), self._pdf.points), self._device
        pristine, defective = torch.empty((2, *shape), device=device)
        concentration = torch.empty(len(host), device=device)
        atomic_number = torch.empty(len(host), dtype=torch.int64, device=device)
        for prepared, rows in self._prepared(host, epoch):
            places = np.array([prepared.place[one] for one in host[rows].tolist()])
            chosen = torch.from_numpy(rows)
            g, drawn = prepared.stream.sample(places, label[rows], seeds[chosen])
            whole = prepared.pristine[torch.from_numpy(places).to(device)]
            spoiled = self._spoiled(g, whole, seeds[chosen].to(device))
            chosen = chosen.to(device)
            pristine[chosen], defective[chosen] = whole, spoiled
            concentration[chosen] = drawn.concentration
            atomic_number[chosen] = drawn.atomic_number
        return FreshPDFs(pristine, defective, concentration, atomic_number)

    def variant(
        self, host: int, label: int, number: int, epoch: int
    ) -> tuple[HostSupercell, Variant, PDFSettings]:
        """What is behind a row, but for its scale and noise."""
        ((prepared, _),) = self._prepared(np.array([host]), epoch)
        seeds = self._row_seeds(np.array([host]), np.array([label]), np.array([number]), epoch)
        draws, place = prepared.stream.draws, prepared.place[host]
        labels = torch.tensor([label], device=self._device)
        drawn = draws.draw(np.array([place]), labels, seeds.to(self._device))
        return draws.supercells[place], draws.variant(drawn, 0), prepared.pdf

    def _row_seeds(
        self, host: np.ndarray, label: np.ndarray, number: np.ndarray, epoch: int
    ) -> Tensor:
        seeds = self._words[host]
        for one in (np.full_like(host, epoch), label, number):
            seeds = random_words(seeds, torch.from_numpy(one))
        return seeds

    def _spoiled(self, g: Tensor, pristine: Tensor, seeds: Tensor) -> Tensor:
        """G(r) (b, R) with the rows' errors of scale and noise."""

        def drawn(counter: int) -> Tensor:
            return uniform(seeds, torch.full_like(seeds, counter))[:, None]

        # Words of the words, since the seeds' own are used up by the defects.
        seeds = random_words(seeds, torch.full_like(seeds, _NOISE))
        if self._variation.scale:
            g = g * (1 + self._variation.scale * (2 * drawn(_SCALE) - 1)).float()
        if self._variation.noise:
            largest = pristine.abs().amax(dim=1, keepdim=True)
            deviation = self._variation.noise * drawn(_DEVIATION).float() * largest
            g = g + deviation * normal(seeds, g.shape[1])
        return g

    def _prepared(self, host: np.ndarray, epoch: int) -> Iterator[tuple[_Prepared, np.ndarray]]:
        """The rows (b,) of the hosts that are prepared together, and these, part by part."""
        group_of_row = self._group[host]
        for group in np.unique(group_of_row).tolist():
            rows = np.flatnonzero(group_of_row == group)
            kept = self._kept_of(group, self._generation_of(group, epoch))
            hosts = np.unique(host[rows])
            for start in range(0, len(hosts), _TOGETHER):
                some = hosts[start : start + _TOGETHER]
                self._prepare(some, group, kept)
                of_some = rows[np.isin(host[rows], some)]
                parts = {id(kept[one]): kept[one] for one in some.tolist()}
                part_of_row = np.array([id(kept[one]) for one in host[of_some].tolist()])
                for part, prepared in parts.items():
                    yield prepared, of_some[part_of_row == part]

    def _generation_of(self, group: int, epoch: int) -> int:
        # Groups take turns, so that all epochs have about as much to prepare.
        varies = self._variation.needs_preparing
        return (epoch + group) // self._variation.epochs if varies else 0

    def _kept_of(self, group: int, generation: int) -> dict[int, _Prepared]:
        """The group's hosts that are prepared for a generation; those of another are dropped."""
        if self._generation.get(group) != generation:
            self._generation[group], self._kept[group] = generation, {}
        return self._kept[group]

    def _prepare(self, hosts: np.ndarray, group: int, kept: dict[int, _Prepared]) -> None:
        missing = [host for host in hosts.tolist() if host not in kept]
        if not missing:
            return
        if sum(map(len, self._kept.values())) + len(missing) > _MOST_KEPT:
            for of_group in self._kept.values():
                of_group.clear()
            missing = hosts.tolist()
        generation = self._generation[group]
        varied = [self._varied_host(self._hosts[host], generation) for host in missing]
        pdf = self._varied_instrument(group, generation)
        stream = VariantStream(varied, self._defects, pdf, self._device)
        every = np.arange(len(missing))
        pristine, _ = stream.sample(every, 0 * every, torch.from_numpy(every))
        place = dict(zip(missing, every.tolist(), strict=True))
        prepared = _Prepared(pdf, stream, place, pristine)
        kept.update(dict.fromkeys(missing, prepared))

    def _varied_host(self, host: Host, generation: int) -> Host:
        rng = np.random.default_rng(_word(f"{self._seed}/{host.id}/{generation}"))
        along_a, along_c = 1 + self._variation.strain * rng.uniform(-1, 1, 2)
        # A cubic cell stays cubic.
        c = host.c * (along_a if host.space_group in (225, 229) else along_c)
        factor = (1 + self._variation.uiso) ** rng.uniform(-1, 1)
        return host.model_copy(
            update={"a": float(host.a * along_a), "c": float(c), "uiso": float(host.uiso * factor)}
        )

    def _varied_instrument(self, group: int, generation: int) -> PDFSettings:
        rng = np.random.default_rng(_word(f"{self._seed}/instrument {group}/{generation}"))
        ranges = self._variation.instrument
        return self._pdf.model_copy(
            update={name: float(rng.uniform(*range_)) for name, range_ in ranges.items()}
        )


def _word(text: str) -> int:
    """A number below 2^63 that depends on a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
