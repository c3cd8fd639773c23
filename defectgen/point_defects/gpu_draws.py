"""Random defects drawn on a GPU, for many hosts at once.

`defectgen.point_defects.variants` describes the draws; these follow the same distribution. What
differs: the random numbers of a row are those of `defectgen.point_defects.random_words` for the
row's own seed. Rows are independent of each other: the same seed gives the same defects in any
batch, on any device. `defectgen.point_defects.place_draws` draws their places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from defectgen.hosts.elements import atomic_number
from defectgen.point_defects.displacements import FARTHEST
from defectgen.point_defects.place_draws import ORBITS, PlaceDraws, padded
from defectgen.point_defects.random_words import normal, random_words, uniform
from defectgen.point_defects.rules import number_of_defects, share_of_first, spans
from defectgen.point_defects.settings import (
    IMPURITY_KINDS,
    INTERSTITIAL_KINDS,
    KIND_SETS,
    KINDS,
    DefectSettings,
)
from defectgen.point_defects.variants import HostSupercell, Variant
from pdfcalc.crystals.displacements import Occupied
from pdfcalc.pdf.lattice import Change

_FRACTION, _IMPURITY, _SHARE, _UISO, _SHUFFLE = -1, -2, -3, -4, 2 * ORBITS
"""Counters of random words, the last and below for each place; others are of `place_draws`."""
_IS_BETWEEN = np.array([kind in INTERSTITIAL_KINDS for kind in KINDS])
_IS_FOREIGN = np.array([kind in IMPURITY_KINDS for kind in KINDS])
_HOLDS = np.array([[kind in kinds for kind in KINDS] for kinds in KIND_SETS])
"""Whether a variant of a label holds each kind."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Defective states of hosts, one a row; D is the most defects of any host.

    Args:
        host: (B,) index of the host, in CPU memory.
        n_used: (B,) most defects that such a host can have, in CPU memory.
        label: (B,) place of what it holds in `KIND_SETS`; 0 for the pristine host.
        n_defects: (B, 4) number of defects of each of `KINDS`.
        concentration: (B,) number of all defects as a fraction of the host's atoms.
        impurity: (B,) index of the foreign element in the settings' list, -1 where there is none.
        atomic_number: (B,) of the foreign element, 0 where there is none.
        uiso: (B,) float64 of the foreign atoms, or the host's where there are none, A^2.
        place: (B, D) site * cells + cell of each defect, in the order of `rules.spans`.
        gone: (B, D) 1 where a host atom is taken away, -1 where one is put, else 0.
        come: (B, D) 1 where a foreign atom is put, else 0.
    """

    host: np.ndarray
    n_used: np.ndarray
    label: Tensor
    n_defects: Tensor
    concentration: Tensor
    impurity: Tensor
    atomic_number: Tensor
    uiso: Tensor
    place: Tensor
    gone: Tensor
    come: Tensor


class DefectDraws:
    """Hosts prepared for any number of draws.

    Args:
        supercells: of one `DefectSettings`.
        memory: bytes to take at once; None for what suits the device.

    Raises:
        ValueError: no number of defects of a host gives a fraction in the range.
    """

    def __init__(
        self,
        supercells: Sequence[HostSupercell],
        device: torch.device | str = "cpu",
        memory: int | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.supercells = list(supercells)
        hosts = [supercell.host for supercell in supercells]
        self._settings = supercells[0].settings
        # Of what labels hold; the pristine host has none, of whatever range.
        ends = [self._settings.fraction_of(kinds) for kinds in KIND_SETS]
        self._fraction = self._tensor(ends)
        held = KIND_SETS[1 : self._settings.n_labels]
        counts = [[(0, 0), *map(one.count_range, held)] for one in supercells]
        self._counts = self._tensor(counts)
        self._most = np.max(counts, axis=(1, 2))
        self._n_atoms = self._tensor([supercell.n_atoms for supercell in supercells])
        self._n_cells = int(np.prod(self._settings.supercell))
        elements = list(self._settings.impurities)
        choices, n_choices = _impurity_choices(self._settings, [host.element for host in hosts])
        self._choices, self._n_choices = self._tensor(choices), self._tensor(n_choices)
        self._lacks_impurity = (n_choices == 0) & _HOLDS[:, _IS_FOREIGN].any(axis=1)
        self._atomic_numbers = self._tensor([*map(atomic_number, elements), 0])
        # Behind the impurities' displacements comes that of the host's own atoms.
        uiso = [[one.uiso_of(element) for element in [*elements, None]] for one in supercells]
        ends_of_uiso = np.array([[one.ends for one in of_host] for of_host in uiso])
        self.uiso_ranges = np.stack(
            [ends_of_uiso[..., 0].min(axis=1), ends_of_uiso[..., 1].max(axis=1)], axis=1
        )
        """(H, 2) lowest and highest Uiso of any atom of any variant of each host, A^2."""
        self._uiso = self._tensor(uiso)
        self._places = PlaceDraws(supercells, self.device, memory)
        is_first = _HOLDS & (_HOLDS.cumsum(axis=1) == 1)
        self._is_first, self._is_second = self._tensor(is_first), self._tensor(_HOLDS & ~is_first)
        self._n_kinds = self._tensor(_HOLDS.sum(axis=1))
        self._is_foreign = self._tensor(_HOLDS[:, _IS_FOREIGN].any(axis=1))

    def _tensor(self, values: object) -> Tensor:
        return torch.as_tensor(np.asarray(values), device=self.device)

    def draw(self, host: np.ndarray, label: np.ndarray, seeds: Tensor) -> Draws:
        """Draw the defects of B rows.

        Args:
            host: (B,) index of each row's host, in CPU memory.
            label: (B,) what it holds, as in `Draws`, in CPU memory.
            seeds: (B,) int64 seed of each row; any numbers.

        Raises:
            ValueError: a label is none of the settings', or a host is itself the only impurity or
            has no room for so many interstitials. Only where its room is not certain beforehand is
            that looked for, which waits for the device.
        """
        last = self._settings.n_labels - 1
        if len(label) and not 0 <= label.min() <= label.max() <= last:
            wrong = label.min() if label.min() < 0 else label.max()
            raise ValueError(f"label {wrong}: the kinds of defect are 0 to {last}")
        for row in np.flatnonzero(self._lacks_impurity[host, label])[:1]:
            self.supercells[host[row]].impurities_of(KIND_SETS[label[row]])
        hosts, labels = (torch.from_numpy(one).to(self.device) for one in (host, label))
        n_defects = self._draw_numbers(hosts, labels, seeds)
        impurity = self._draw_impurity(hosts, labels, seeds)
        place = self._draw_places(host, label, impurity, n_defects, seeds)
        column = torch.arange(place.shape[1], device=self.device)
        count = n_defects.sum(dim=1, keepdim=True)
        removed, added, put = (
            (column >= start) & (column < stop)
            for start, stop in spans(*n_defects[..., None].unbind(1))
        )
        return Draws(
            host,
            self._most[host],
            labels,
            n_defects,
            (count[:, 0] / self._n_atoms[hosts]).float(),
            impurity,
            self._atomic_numbers[impurity],
            self._draw_uiso(hosts, impurity, seeds),
            place * (column < count),
            removed.float() - put.float(),
            added.float(),
        )

    def variant(self, draws: Draws, row: int) -> Variant:
        """A row of draws as `HostSupercell.variant` gives it, for its atoms or its storage."""
        ((supercell, n_defects, impurity, uiso, places),) = self._states(draws, slice(row, row + 1))
        label = int(draws.label[row])
        return supercell.variant_of(label, n_defects, impurity, uiso, places)

    def changes(self, draws: Draws) -> list[Change]:
        """Draws as the engines on the CPU take them."""
        return [
            supercell.change_of(n_defects, impurity, uiso, places)
            for supercell, n_defects, impurity, uiso, places in self._states(draws, slice(None))
        ]

    def _states(
        self, draws: Draws, rows: slice
    ) -> Iterator[tuple[HostSupercell, tuple[int, ...], str | None, float, Occupied]]:
        """Of each row what `HostSupercell.change_of` makes its change from."""
        site, away = np.divmod(draws.place[rows].cpu().numpy(), self._n_cells)
        cell = np.stack(np.unravel_index(away, self._settings.supercell), axis=-1)
        of_rows = (draws.host[rows], draws.n_defects[rows], draws.impurity[rows], draws.uiso[rows])
        for row, (host, n_defects, which, uiso) in enumerate(
            zip(*(values.tolist() for values in of_rows), strict=True)
        ):
            impurity = self._settings.impurities[which] if which >= 0 else None
            places = Occupied(site[row], cell[row])
            yield self.supercells[host], tuple(n_defects), impurity, uiso, places

    def _draw_numbers(self, hosts: Tensor, labels: Tensor, seeds: Tensor) -> Tensor:
        """(B, 4) defects of each kind: all together, and how two kinds share them."""
        n_atoms, n_kinds = self._n_atoms[hosts], self._n_kinds[labels]
        fewest, most = self._counts[hosts, labels].unbind(1)
        at, fraction = _uniform(seeds, _FRACTION), self._fraction[labels].unbind(1)
        count = number_of_defects(at, fraction, n_atoms, n_kinds, fewest, most).long()
        lowest, highest = share_of_first(count, fewest)
        share = lowest + (_uniform(seeds, _SHARE) * (highest - lowest + 1)).long()
        first = torch.where(n_kinds == 2, share, count)[:, None]
        return self._is_first[labels] * first + self._is_second[labels] * (count[:, None] - first)

    def _draw_impurity(self, hosts: Tensor, labels: Tensor, seeds: Tensor) -> Tensor:
        chosen = (_uniform(seeds, _IMPURITY) * self._n_choices[hosts, labels]).long()
        return torch.where(self._is_foreign[labels], self._choices[hosts, chosen], -1)

    def _draw_uiso(self, hosts: Tensor, impurity: Tensor, seeds: Tensor) -> Tensor:
        median, scatter = self._uiso[hosts, impurity].unbind(1)
        own = random_words(seeds, torch.full_like(seeds, _UISO))
        deviations = normal(own, 1)[:, 0].double().clamp(-FARTHEST, FARTHEST)
        return median * (scatter * deviations).exp()

    def _draw_places(
        self,
        host: np.ndarray,
        label: np.ndarray,
        impurity: Tensor,
        n_defects: Tensor,
        seeds: Tensor,
    ) -> Tensor:
        """(B, D) places as in `Draws`; what lies behind a row's defects has no meaning."""
        held = _HOLDS[label]
        on_host, between = (
            np.flatnonzero(held[:, kinds].any(axis=1)) for kinds in (~_IS_BETWEEN, _IS_BETWEEN)
        )
        # All drawn together, those of both sorts of place twice.
        drawn = np.concatenate([on_host, between])
        is_between = np.arange(len(drawn)) >= len(on_host)
        rows = torch.from_numpy(drawn).to(self.device)
        first, second = rows[: len(on_host)], rows[len(on_host) :]
        vacancies, own, substitutions, foreign = n_defects.unbind(1)
        n_on_host, n_between = vacancies + substitutions, own + foreign
        counts = torch.cat([n_on_host[first], n_between[second]])
        found = self._places.draw(host[drawn], is_between, impurity[rows], counts, seeds[rows])
        place = found.new_zeros((len(host), found.shape[1]))
        place[first] = found[: len(on_host)]
        behind = found[len(on_host) :]
        if self._settings.mixed_variants:
            both = torch.from_numpy(np.flatnonzero(held[between][:, _IS_BETWEEN].all(axis=1)))
            both = both.to(self.device)
            of = second[both]
            behind[both] = _shuffled(behind[both], n_between[of], seeds[of])
        column = torch.arange(place.shape[1], device=self.device) - n_on_host[second, None]
        behind = behind.gather(1, column.clamp(min=0))
        place[second] = torch.where(column < 0, place[second], behind)
        return place


def _impurity_choices(
    settings: DefectSettings, hosts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (H, C) of the impurities of hosts of these elements, and of each label how many of
    the first ones (H, L) it draws from."""
    every = [settings.impurities_of(element, ()) for element in hosts]
    # The -1 keeps a column where there are none.
    indices = padded([[*map(settings.impurities.index, of_host), -1] for of_host in every])
    counts = [
        [len(settings.impurities_of(element, kinds)) for kinds in KIND_SETS] for element in hosts
    ]
    return indices, np.array(counts)


def random_seeds(n_rows: int, generator: torch.Generator) -> Tensor:
    """(n_rows,) seeds of rows, on the generator's device."""
    ends = torch.iinfo(torch.int64)
    device = generator.device
    return torch.randint(ends.min, ends.max, (n_rows,), generator=generator, device=device)


def _uniform(seeds: Tensor, counter: int) -> Tensor:
    return uniform(seeds, torch.full_like(seeds, counter))


def _shuffled(place: Tensor, count: Tensor, seeds: Tensor) -> Tensor:
    """Places (b, D) of which the first `count` (b,) are in a random order.

    The order in which they were drawn is not: the first had more room around them.
    """
    column = torch.arange(place.shape[1], device=place.device)
    keys = random_words(seeds[:, None], _SHUFFLE - column)
    keys = keys.masked_fill(column >= count[:, None], torch.iinfo(torch.int64).max)
    return place.gather(1, keys.argsort(dim=1, stable=True))
