"""The lattice engine in torch: many variants of many crystals at once, on a GPU.

`pdfcalc.pdf.lattice` describes the computation. What differs:

- A change is one list of places with the change of each: own atom gone or put, foreign atom come,
  or gone and come. Pairs of places are counted by class with one lookup each, in a table of classes
  over differences of cells that needs no wrapping.
- Weights go from classes to the mesh by one matrix a crystal, and from the mesh to G(r) by one
  matrix for all crystals (`pdfcalc.gpu.response`), both products of dense matrices in float32.

A place is a site in a cell, numbered site * cells + cell. Crystals are prepared on the CPU once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdfcalc.gpu.device import memory_budget
from pdfcalc.gpu.response import MeshResponse
from pdfcalc.gpu.tables import Tables
from pdfcalc.pdf.lattice import Change, LatticeCrystal
from pdfcalc.pdf.parameters import PDFParameters


@dataclass(frozen=True, eq=False)
class Changes:
    """Changes of crystals of a `LatticeBatch`, one a row.

    Args:
        crystal: (B,) index of the crystal changed. It is in CPU memory, as is `n_used`, since
            both decide the batches.
        n_used: (B,) how many of the D columns a row may use: the first so many.
        place: (B, D) places changed; any place where nothing changes.
        gone: (B, D) 1 where a crystal's own atom is taken away, -1 where one is put, else 0.
        come: (B, D) 1 where a new atom is put, else 0.
        power: (B,) scattering power of the new atoms.
        uiso: (B,) mean-square displacement of the new atoms, A^2.
    """

    crystal: np.ndarray
    n_used: np.ndarray
    place: Tensor
    gone: Tensor
    come: Tensor
    power: Tensor
    uiso: Tensor

    def rows(self, chosen: Tensor, n_used: int) -> tuple[Tensor, ...]:
        """place, gone, come, power and uiso of chosen rows, of the columns they use."""
        by_place = (self.place, self.gone, self.come)
        return (
            *(values[:, :n_used][chosen] for values in by_place),
            self.power[chosen],
            self.uiso[chosen],
        )


def pdfs(
    crystals: Sequence[LatticeCrystal],
    changes: Sequence[Sequence[Change]],
    parameters: PDFParameters,
    points: Sequence[int],
    device: torch.device | str = "cpu",
) -> Tensor:
    """G(r) of each change of each crystal, as `LatticeCrystal.pdfs` gives it.

    Args:
        changes: of each crystal.
        points: indices of the wanted points in `parameters.r`.

    Returns:
        (B, len(points)) float32 on the device, the changes of the first crystal first, 1/A^2.
    """
    displacements = [crystal.uiso for crystal in crystals]
    displacements += [change.uiso for of_crystal in changes for change in of_crystal]
    bounds = 2 * min(displacements), 2 * max(displacements)
    batch = LatticeBatch(crystals, parameters, points, bounds, device)
    return batch.pdfs(batch.changes(changes))


class LatticeBatch:
    """Crystals prepared for the computation of any number of their variants.

    Args:
        points: indices of the wanted points in `parameters.r`.
        u_sums: lowest and highest sum of the Uiso of two atoms that may occur, A^2.
        shortest: no pairs of a variant are closer than this, A. Only needed where correlated
            motion would leave closer pairs, which never occur, no width.
        memory: bytes to take at once; None for what suits the device.
    """

    def __init__(
        self,
        crystals: Sequence[LatticeCrystal],
        parameters: PDFParameters,
        points: Sequence[int],
        u_sums: tuple[float, float],
        device: torch.device | str = "cpu",
        shortest: float = 0.0,
        memory: int | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.crystals, self._parameters = list(crystals), parameters
        self._memory = memory
        nearest = min(float(crystal.sites.shortest.min()) for crystal in crystals)
        shortest = max(shortest, nearest)
        self.response = MeshResponse(parameters, points, shortest, u_sums, self.device)
        sizes = np.array([len(crystal.sites.vectors) for crystal in crystals])
        # Crystals much alike in the number of classes, so that little is lost by padding.
        self._group = np.unique(np.frexp(sizes)[1], return_inverse=True)[1]
        self._row = np.empty(len(sizes), dtype=np.int64)
        self._tables = []
        for index in range(self._group.max() + 1):
            members = np.flatnonzero(self._group == index)
            self._row[members] = np.arange(len(members))
            chosen = [self.crystals[member] for member in members]
            self._tables.append(Tables(chosen, parameters, self.response, shortest, self.device))

    def changes(self, changes: Sequence[Sequence[Change]]) -> Changes:
        """The changes of each crystal as tensors, those of the first crystal first.

        Raises:
            ValueError: the Uiso of a change is not between those prepared for.
        """
        rows = [
            _places(crystal, change)
            for crystal, of_crystal in zip(self.crystals, changes, strict=True)
            for change in of_crystal
        ]
        flat = [change for of_crystal in changes for change in of_crystal]
        low, high = (0.5 * u_sum for u_sum in self.response.u_sums)
        for change in flat:
            if not low * (1 - 1e-9) <= change.uiso <= high * (1 + 1e-9):
                raise ValueError(
                    f"uiso = {change.uiso:g}: the batch was prepared for {low:g} to {high:g} A^2"
                )
        most = max((len(place) for place, _, _ in rows), default=0)
        place = np.zeros((len(rows), most), dtype=np.int64)
        gone, come = np.zeros((2, len(rows), most), dtype=np.float32)
        for row, (places, is_gone, is_come) in enumerate(rows):
            n = len(places)
            place[row, :n], gone[row, :n], come[row, :n] = places, is_gone, is_come
        power = [self._parameters.scattering_power(change.element) for change in flat]
        counts = [len(of_crystal) for of_crystal in changes]
        return Changes(
            np.repeat(np.arange(len(counts)), counts),
            np.array([len(places) for places, _, _ in rows]),
            torch.from_numpy(place).to(self.device),
            torch.from_numpy(gone).to(self.device),
            torch.from_numpy(come).to(self.device),
            torch.tensor(power, device=self.device),
            torch.tensor([change.uiso for change in flat], device=self.device),
        )

    def pdfs(self, changes: Changes) -> Tensor:
        """(B, R) G(r) of each change, float32 on the device, 1/A^2."""
        g = torch.empty((len(changes.crystal), self.response.n_points), device=self.device)
        for tables, rows, n_used in self._batches(changes):
            crystals, at = np.unique(changes.crystal[rows], return_inverse=True)
            # Row by row on a grid of crystals and their variants, of which some may stay empty.
            slot = _rank_in_group(at)
            grid = torch.from_numpy(at * (slot.max() + 1) + slot).to(self.device)
            shape = len(crystals), int(slot.max()) + 1
            members = torch.from_numpy(self._row[crystals]).to(self.device)
            chosen = torch.from_numpy(rows).to(self.device)
            part = changes.rows(chosen, n_used)
            g[chosen] = self._of_batch(tables, members, shape, grid, part)
        return g

    def _of_batch(
        self,
        tables: Tables,
        members: Tensor,
        shape: tuple[int, int],
        grid: Tensor,
        changes: tuple[Tensor, ...],
    ) -> Tensor:
        """(b, R) G(r) of changes, which lie on a grid of (crystals, variants)."""

        def on_grid(values: Tensor) -> Tensor:
            full = values.new_zeros((shape[0] * shape[1], *values.shape[1:]))
            full[grid] = values
            return full.view(*shape, *values.shape[1:])

        place, gone, come, new_power, new_uiso = map(on_grid, changes)
        counts = tables.count(members, place, gone, come)
        power, uiso = tables.power[members, None], tables.uiso[members, None]
        # Empty slots of the grid hold the unchanged crystal.
        new_uiso = torch.where(new_uiso > 0, new_uiso, uiso)
        n_own, n_new = tables.n_atoms[members, None] - gone.sum(2), come.sum(2)
        n_atoms = n_own + n_new
        scale = n_atoms / (n_own * power + n_new * new_power) ** 2
        factors = torch.stack([power**2 + 0 * scale, 2 * power * new_power, new_power**2], dim=2)
        u_sums = torch.stack([2 * uiso + 0 * scale, uiso + new_uiso, 2 * new_uiso], dim=2)
        weights = counts * (scale[..., None] * factors)[..., None]
        on_mesh = tables.on_mesh(members, weights)
        density = n_atoms / tables.volume[members, None]
        g = self.response.pdfs(on_mesh.flatten(0, 1), u_sums.flatten(0, 1), density.flatten())
        return g[grid]

    def _batches(self, changes: Changes) -> Iterator[tuple[Tables, np.ndarray, int]]:
        """Tables, rows to work on together in bounded memory, and the columns they use."""
        budget = self._memory or memory_budget(self.device)
        groups = self._group[changes.crystal]
        for index, tables in enumerate(self._tables):
            rows = np.flatnonzero(groups == index)
            if len(rows) == 0:
                continue
            n_used = int(changes.n_used[rows].max())
            per_crystal = tables.bytes_per_crystal
            per_row = tables.bytes_per_row(n_used) + self.response.bytes_per_pdf
            # Pieces of one crystal's rows, none with more than fit, and those alike side by side.
            most = max(1, (budget - per_crystal) // per_row)
            crystal = changes.crystal[rows]
            piece = crystal * len(rows) + _rank_in_group(crystal) // most
            piece = np.unique(piece, return_inverse=True)[1]
            size = np.bincount(piece)
            rows = rows[np.lexsort((piece, -size[piece]))]
            size = np.sort(size)[::-1]
            ends = np.concatenate([[0], np.cumsum(size)])
            start = 0
            while start < len(size):
                at_once = max(1, budget // (per_crystal + int(size[start]) * per_row))
                stop = min(len(size), start + at_once)
                yield tables, rows[ends[start] : ends[stop]], n_used
                start = stop


def _rank_in_group(group: np.ndarray) -> np.ndarray:
    """(N,) how many earlier entries are of the same group."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    first = np.searchsorted(ordered, ordered)
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - first
    return rank


def _places(crystal: LatticeCrystal, change: Change) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places changed, and at each `gone` and `come` as in `Changes`."""
    repeats = crystal.sites.repeats
    gone, own, come = (
        at.site * int(np.prod(repeats)) + np.ravel_multi_index(tuple(at.cell.T), tuple(repeats))
        for at in (change.removed, change.own, change.added)
    )
    places = np.unique(np.concatenate([gone, own, come]))
    is_gone, is_own, is_come = (np.isin(places, some).astype(int) for some in (gone, own, come))
    return places, is_gone - is_own, is_come
