"""Fresh defects for each epoch of a training, in cells and instruments that may vary as well.

All that is random in a row comes from (seed, host id, number, label, epoch). On a CPU a row is the
same to the last bit whatever other rows are asked for, in whatever order and by how many threads.
On a GPU its defects are, and its G(r) but for the last digits, since hosts that are prepared
together share tables there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from defectgen.hosts.host import Host
from defectgen.point_defects.random_words import normal, random_words, text_word, uniform
from defectgen.point_defects.settings import DefectSettings
from defectgen.point_defects.variants import HostSupercell, Variant
from hpc.description import first_mistake
from hpc.observables.pdf import PDFSettings, Range
from hpc.store.inputs import has_its_items
from hpc.store.store import Store
from train.problems.defects.errors import smooth_error
from train.problems.defects.sites import require_sites
from train.problems.defects.streaming import VariantStream

_INSTRUMENTS = 32
"""Instruments in use at once: preparing one takes as long as many PDFs."""
_TOGETHER = 256
"""Hosts that are prepared together, which bounds the memory."""
_MOST_KEPT = 1536
"""Prepared hosts that are kept for the next call, each some 0.4 MB."""
_SCALE, _DEVIATION, _NOISE, _END, _DISTORTION, _KERNEL = -1, -2, -3, -4, -5, -6
"""Counters of the random words that spoil a row; those of its defects have another seed."""
_INSTRUMENT = ("qmax", "qdamp", "qbroad")
_OF_NUMBER = {
    "strain": lambda x: (-x, x),
    "uiso": lambda x: (1 / (1 + x), 1 + x),
    "scale": lambda x: (-x, x),
    "noise": lambda x: (0.0, x),
    "distortion": lambda x: (0.0, x),
}
"""What a number x stands for, where a range may be given by a number."""
_BOUNDS = {"strain": (-0.2, 0.2), "uiso": (0.05, 20.0), "scale": (-0.9, math.inf)}
"""Of what may go beyond 0 to infinity, or may not go so far."""


class Variation(BaseModel):
    """What varies beside the defects; nothing does by default.

    A range is [low, high]; with both equal the value is the same everywhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    strain: float | Range = Field(
        0.0,
        description="relative change of a and, where it is free, of c; x: -x to x",
    )
    uiso: float | Range = Field(
        0.0,
        description="range of the factor of the host's Uiso, log-uniform; x: 1 / (1 + x) to 1 + x",
    )
    qmax: Range | None = Field(None, description="range, uniform, 1/A")
    qdamp: Range | None = Field(None, description="range, uniform, 1/A")
    qbroad: Range | None = Field(None, description="range, uniform, 1/A")
    rmax: Range | None = Field(
        None, description="range of the r beyond which both traces are zero, uniform, A"
    )
    scale: float | Range = Field(
        0.0, description="relative change of the defective trace, uniform; x: -x to x"
    )
    noise: float | Range = Field(
        0.0,
        description="standard deviation of white noise on the defective trace, over the largest "
        "|G| of the pristine one, uniform; x: 0 to x",
    )
    distortion: float | Range = Field(
        0.0,
        description="standard deviation of relative errors of S(Q) - 1 behind the defective trace "
        "that change slowly with Q, as those of absorption and Compton corrections do, uniform; "
        "x: 0 to x",
    )
    epochs: int = Field(
        1,
        ge=1,
        description="how long a varied cell or instrument stays in use; a CPU core takes some 5 ms "
        "to prepare another for a host, as long as for 25 of its PDFs",
    )

    @model_validator(mode="after")
    def _in_bounds(self) -> Variation:
        for name in _OF_NUMBER:
            value = getattr(self, name)
            if isinstance(value, float) and value < 0:
                raise ValueError(f"{name} = {value:g}: give a positive number, or [low, high]")
        for name, (low, high) in self.ranges.items():
            least, most = _BOUNDS.get(name, (0.0, math.inf))
            if not least <= low <= high <= most:
                bounds = "low <= high" if math.isinf(most) else f"low <= high <= {most:g}"
                raise ValueError(f"{name} = [{low:g}, {high:g}]: need {least:g} <= {bounds}")
        return self

    @property
    def ranges(self) -> dict[str, Range]:
        """Least and largest value of each quantity that varies, by name; `uiso` is a factor."""
        given = {name: getattr(self, name) for name in (*_INSTRUMENT, "rmax", *_OF_NUMBER)}
        return {
            name: _OF_NUMBER[name](value) if isinstance(value, float) else value
            for name, value in given.items()
            if value
        }

    @property
    def instrument(self) -> dict[str, Range]:
        """Ranges of what varies of the instrument, by name."""
        return {name: range_ for name, range_ in self.ranges.items() if name in _INSTRUMENT}

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
        low, high = variation.rmax or (pdf.rmax, pdf.rmax)
        if not pdf.rmin < low <= high <= pdf.rmax:
            raise ValueError(
                f"rmax can't vary in [{low:g}, {high:g}]: it must be above rmin = {pdf.rmin:g} "
                f"and not above the store's rmax = {pdf.rmax:g} A"
            )
        self._r = torch.from_numpy(pdf.parameters.r[pdf.stored]).to(self._device)
        ids = [host.id for host in hosts]
        n_groups = _INSTRUMENTS if variation.instrument else 1
        self._group = np.array([text_word(id_) % n_groups for id_ in ids], dtype=np.int64)
        self._words = torch.tensor([text_word(f"{seed}/{id_}") for id_ in ids], dtype=torch.int64)
        self._generation: dict[int, int] = {}
        self._kept: dict[int, dict[int, _Prepared]] = {}

    @classmethod
    def of_store(
        cls, path: Path, variation: Variation, seed: int, device: torch.device | str = "cpu"
    ) -> FreshDraws:
        """Draws of a store's hosts, by their place in the store, with its settings.

        Raises:
            ValueError: there is no store, it lacks the hosts that it was made from, or stages
                have changed its samples.
        """
        store = Store(path)
        if not has_its_items(store):
            raise ValueError(
                f"{path / 'library.json'} does not hold the hosts of the store: put back the file "
                "that the store was made with"
            )
        description = store.description
        require_sites(path, store.group.attrs["run"])
        hosts = cast("Sequence[Host]", store.items)
        return cls(hosts, description.defects, description.pdf, variation, seed, device)

    def draw(
        self, host: np.ndarray, label: np.ndarray, number: np.ndarray, epoch: int
    ) -> FreshPDFs:
        """Draw defects and compute both traces of n rows.

        Args:
            host: (n,) index of each row's host.
            label: (n,) what it holds, its place in `defectgen.point_defects.settings.KIND_SETS`.
            number: (n,) which draw of its host and label in the epoch it is.

        Raises:
            ValueError: the hosts are not drawn with such a label, or one has no room for its
                defects.
        """
        host, label, number = (np.asarray(row, dtype=np.int64) for row in (host, label, number))
        seeds = self._row_seeds(host, label, number, epoch)
        shape, device = (len(host), self._pdf.points), self._device
        pristine, defective = torch.empty((2, *shape), device=device)
        concentration = torch.empty(len(host), device=device)
        atomic_number = torch.empty(len(host), dtype=torch.int64, device=device)
        for prepared, rows in self._prepared(host, epoch):
            places = np.array([prepared.place[one] for one in host[rows].tolist()])
            chosen = torch.from_numpy(rows)
            g, drawn = prepared.stream.draw(places, label[rows], seeds[chosen])
            whole = prepared.pristine[torch.from_numpy(places).to(device)]
            spoiled = self._spoiled(whole, g, seeds[chosen].to(device))
            chosen = chosen.to(device)
            pristine[chosen], defective[chosen] = spoiled
            concentration[chosen] = drawn.concentration
            atomic_number[chosen] = drawn.atomic_number
        return FreshPDFs(pristine, defective, concentration, atomic_number)

    def variant(
        self, host: int, label: int, number: int, epoch: int
    ) -> tuple[HostSupercell, Variant, PDFSettings]:
        """What is behind a row, but for its rmax and the errors of its trace."""
        ((prepared, _),) = self._prepared(np.array([host]), epoch)
        seeds = self._row_seeds(np.array([host]), np.array([label]), np.array([number]), epoch)
        draws, place = prepared.stream.draws, prepared.place[host]
        drawn = draws.draw(np.array([place]), np.array([label]), seeds.to(self._device))
        return draws.supercells[place], draws.variant(drawn, 0), prepared.pdf

    def _row_seeds(
        self, host: np.ndarray, label: np.ndarray, number: np.ndarray, epoch: int
    ) -> Tensor:
        seeds = self._words[host]
        for one in (np.full_like(host, epoch), label, number):
            seeds = random_words(seeds, torch.from_numpy(one))
        return seeds

    def _spoiled(self, pristine: Tensor, g: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Pristine and defective G(r) (b, R) with the rows' errors of scale, noise and length."""

        def drawn(counter: int) -> Tensor:
            return uniform(seeds, torch.full_like(seeds, counter))[:, None]

        # Words of the words, since the seeds' own are used up by the defects.
        seeds = random_words(seeds, torch.full_like(seeds, _NOISE))
        ranges = self._variation.ranges
        if "scale" in ranges:
            g = g * (1 + _between(ranges["scale"], 2 * drawn(_SCALE) - 1)).float()
        if "distortion" in ranges:
            amount = _between(ranges["distortion"], 2 * drawn(_DISTORTION) - 1).float()
            g = g + amount * smooth_error(g, random_words(seeds, torch.full_like(seeds, _KERNEL)))
        if "noise" in ranges:
            low, high = ranges["noise"]
            largest = pristine.abs().amax(dim=1, keepdim=True)
            deviation = (low + (high - low) * drawn(_DEVIATION).float()) * largest
            g = g + deviation * normal(seeds, g.shape[1])
        if "rmax" in ranges:
            inside = self._r <= _between(ranges["rmax"], 2 * drawn(_END) - 1)
            pristine, g = pristine * inside, g * inside
        return pristine, g

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
        pristine, _ = stream.draw(every, 0 * every, torch.from_numpy(every))
        place = dict(zip(missing, every.tolist(), strict=True))
        prepared = _Prepared(pdf, stream, place, pristine)
        kept.update(dict.fromkeys(missing, prepared))

    def _varied_host(self, host: Host, generation: int) -> Host:
        rng = np.random.default_rng(text_word(f"{self._seed}/{host.id}/{generation}"))
        strains = rng.uniform(-1, 1, 2)
        along_a, along_c = 1 + _between(self._variation.ranges.get("strain", (0, 0)), strains)
        factor = _uiso_factor(self._variation.uiso, rng.uniform(-1, 1))
        return host.changed(host.a * along_a, host.c * along_c, host.uiso * factor)

    def _varied_instrument(self, group: int, generation: int) -> PDFSettings:
        rng = np.random.default_rng(text_word(f"{self._seed}/instrument {group}/{generation}"))
        ranges = self._variation.instrument
        return self._pdf.model_copy(
            update={name: float(rng.uniform(*range_)) for name, range_ in ranges.items()}
        )


def _between(range_: Range, place: Any) -> Any:
    """What lies in a range at places from -1 to 1, exactly its middle at 0."""
    low, high = range_
    return (low + high) / 2 + (high - low) / 2 * place


def _uiso_factor(uiso: float | Range, place: float) -> float:
    """As `_between`, along a logarithmic scale."""
    if isinstance(uiso, float):
        return (1 + uiso) ** place
    low, high = uiso
    return math.sqrt(low * high) * math.sqrt(high / low) ** place
