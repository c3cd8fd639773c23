"""The pairs engine in torch: every pair of atoms of many structures by itself, on a GPU.

`pdfcalc.pdf.pairs` describes the computation. What differs:

- Atoms are packed into blocks, and pairs of blocks too far apart are left out, so that a batch is
  one list of tiles of equal size. Finding it waits for the device once a batch.
- A bin of distance keeps the number of its pairs and the sum of their places in it, both in one
  integer: one atomic addition a pair, of which the order doesn't matter. From these, weights are
  shared between the two ends of the bin (linearly), which the narrower bins make good for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.gpu.device import full_precision, fused, memory_budget
from pdfcalc.gpu.response import MeshResponse
from pdfcalc.kernels import SAME_PLACE
from pdfcalc.kernels.mesh import MARGIN, STENCIL, mesh_shares
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.pdf.species import species_of

_BIN = 0.001
"""Widest bin of distance, A; linear shares over it change peaks by parts in 100,000."""
_PARTS = 8
"""Bits of the place of a pair in its bin."""
_COUNT = 36
"""Bits below the number of pairs in a bin, for the sum of their places."""
_TILE = 16
"""Atoms in a block."""
_BYTES_PER_PAIR = 96
_MOST_SPECIES = 16
_BEYOND = 12.0
"""A past the longest distance in which a tile's far pairs find bins of their own."""


@dataclass(frozen=True, eq=False)
class Structures:
    """B structures of up to N atoms of up to K species, on one device.

    Args:
        lattice: (B, 3, 3) cell vectors as rows, A, float64.
        frac: (B, N, 3) fractional coordinates, float64.
        species: (B, N) species of each atom, -1 where a structure has fewer.
        power: (B, K) occupancy times scattering power of each species.
        uiso: (B, K) mean-square displacement, A^2.
        occupancy: (B, K) of each species.
        periodic: (B,) whether the cell repeats.
    """

    lattice: Tensor
    frac: Tensor
    species: Tensor
    power: Tensor
    uiso: Tensor
    occupancy: Tensor
    periodic: Tensor

    def __getitem__(self, chosen: slice) -> Structures:
        return Structures(*(getattr(self, field.name)[chosen] for field in fields(self)))


def pdfs(
    structures: Sequence[AtomicStructure],
    parameters: PDFParameters,
    points: Sequence[int],
    device: torch.device | str = "cpu",
    shortest: float | None = None,
) -> Tensor:
    """G(r) of each structure, as `calculate_pdf` gives it.

    Args:
        points: indices of the wanted points in `parameters.r`.
        shortest: no atoms are closer, A. To be given where correlated motion narrows peaks.

    Returns:
        (B, len(points)) float32 on the device, 1/A^2.

    Raises:
        ValueError: a structure has too many species, or `shortest` is wanted.
    """
    uiso = np.concatenate([structure.uiso for structure in structures])
    bounds = 2 * float(uiso.min()), 2 * float(uiso.max())
    batch = PairsBatch(parameters, points, bounds, device, shortest)
    return batch.pdfs(stack(structures, parameters, device))


def stack(
    structures: Sequence[AtomicStructure], parameters: PDFParameters, device: torch.device | str
) -> Structures:
    """Structures as tensors."""
    kinds = [species_of(structure, parameters) for structure in structures]
    n_kinds = max(map(len, kinds))
    if n_kinds > _MOST_SPECIES:
        raise ValueError(
            f"a structure has {n_kinds} species (element, Uiso and occupancy), of which at most "
            f"{_MOST_SPECIES} are possible here: use calculate_pdf"
        )
    n_atoms = max(len(structure.frac) for structure in structures)
    frac = np.zeros((len(structures), n_atoms, 3))
    species = np.full((len(structures), n_atoms), -1)
    power, occupancy = np.zeros((2, len(structures), n_kinds))
    uiso = np.full((len(structures), n_kinds), min(s.uiso.min() for s in structures))
    for row, (structure, of_structure) in enumerate(zip(structures, kinds, strict=True)):
        frac[row, : len(structure.frac)] = structure.frac
        for index, kind in enumerate(of_structure):
            species[row, kind.atoms] = index
            power[row, index], uiso[row, index] = kind.power, kind.uiso
            occupancy[row, index] = structure.occupancy[kind.atoms[0]]
    lattice = np.array([structure.lattice for structure in structures])
    periodic = np.array([structure.periodic for structure in structures])
    arrays = (lattice, frac, species, power, uiso, occupancy, periodic)
    return Structures(*(torch.from_numpy(array).to(device) for array in arrays))


class PairsBatch:
    """What is alike for all structures: parameters, points, and the range of Uiso.

    Args:
        points: indices of the wanted points in `parameters.r`.
        u_sums: lowest and highest sum of the Uiso of two atoms that may occur, A^2.
        shortest: no atoms are closer, A. To be given where correlated motion narrows peaks.
        memory: bytes to take at once; None for what suits the device.
    """

    def __init__(
        self,
        parameters: PDFParameters,
        points: Sequence[int],
        u_sums: tuple[float, float],
        device: torch.device | str = "cpu",
        shortest: float | None = None,
        memory: int | None = None,
    ) -> None:
        if shortest is None and (parameters.delta1 or parameters.delta2):
            raise ValueError("give `shortest`, which correlated motion (delta1, delta2) depends on")
        self.device = torch.device(device)
        self._memory = memory
        closest = 1.0 if shortest is None else shortest
        self.response = MeshResponse(parameters, points, closest, u_sums, self.device)
        step = self.response.step
        self._per_step = math.ceil(step / _BIN)
        self._bin = step / self._per_step
        self._n_bins = (self.response.size - 2 * MARGIN) * self._per_step
        self._n_kept = math.ceil((self.response.longest + _BEYOND) / self._bin)
        distance = step * (1 + np.arange(self._per_step) / self._per_step)
        _, shares = mesh_shares(distance, step)
        self._shares = torch.from_numpy(shares * distance[:, None]).to(self.device, torch.float32)
        self._tile = fused(_tile, self.device)

    def pdfs(self, structures: Structures) -> Tensor:
        """(B, R) G(r) of each structure, float32 on the device, 1/A^2."""
        n_kinds = structures.power.shape[1]
        n_pairs = n_kinds * (n_kinds + 1) // 2
        budget = self._memory or memory_budget(self.device)
        shifts = _shifts(structures, self.response.longest)
        n_blocks = -(-structures.frac.shape[1] // _TILE)
        per_structure = n_pairs * (8 * self._n_kept + 24 * self._n_bins)
        per_structure += 32 * n_blocks**2 * len(shifts) + self.response.bytes_per_pdf
        at_once = max(1, budget // 2 // per_structure)
        parts = []
        for start in range(0, len(structures.lattice), at_once):
            part = structures[start : start + at_once]
            histogram = self._histogram(part, shifts, n_pairs, budget // 2)
            parts.append(self._of_histogram(part, histogram))
        return torch.cat(parts)

    def _histogram(
        self, structures: Structures, shifts: Tensor, n_pairs: int, budget: int
    ) -> Tensor:
        """(B, P, bins) packed numbers and places of ordered pairs, by the pair of species."""
        n_structures = len(structures.lattice)
        blocks = _Blocks(structures, self._bin)
        histogram = torch.zeros(
            n_structures * n_pairs * self._n_kept, dtype=torch.int64, device=self.device
        )
        translations = (shifts.to(structures.lattice) @ structures.lattice) / self._bin
        reach = self.response.longest / self._bin
        tiles = blocks.tiles(translations, shifts, structures.periodic, reach)
        at_once = max(1, budget // (_BYTES_PER_PAIR * _TILE * _TILE))
        for start in range(0, len(tiles), at_once):
            row, shift, one, other = tiles[start : start + at_once].unbind(1)
            between = blocks.centre[row, other] + translations[row, shift] - blocks.centre[row, one]
            # Each shift stands for its opposite as well, except that by nothing.
            times = torch.where(shift == 0, 1, 2)[:, None]
            index, value = self._tile(
                blocks.relative[row, one],
                blocks.relative[row, other] + between[:, None].float(),
                blocks.present[row, one],
                blocks.present[row, other] * times,
                blocks.species[row, one],
                blocks.species[row, other],
                row * (n_pairs * self._n_kept),
                self._n_kept,
            )
            histogram.scatter_add_(0, index.view(-1), value.view(-1))
        return histogram.view(n_structures, n_pairs, self._n_kept)[..., : self._n_bins]

    def _of_histogram(self, structures: Structures, histogram: Tensor) -> Tensor:
        count = (histogram >> _COUNT).float()
        above = (histogram & ((1 << _COUNT) - 1)).float() / (1 << _PARTS)
        weights = count - above
        weights[..., 1:] += above[..., :-1]
        distance = torch.arange(self._n_bins, device=self.device) * self._bin
        weights *= torch.where(distance < SAME_PLACE, 0.0, 1 / distance)
        on_mesh = self._on_mesh(weights)
        first, second = _species_of_pairs(structures.power.shape[1], self.device)
        one_hot = structures.species[..., None] == torch.arange(
            structures.power.shape[1], device=self.device
        )
        numbers = one_hot.sum(1)
        n_atoms = (numbers * structures.occupancy).sum(1)
        scale = n_atoms / (numbers * structures.power).sum(1) ** 2
        factor = scale[:, None] * structures.power[:, first] * structures.power[:, second]
        u_sums = structures.uiso[:, first] + structures.uiso[:, second]
        density = n_atoms / torch.linalg.det(structures.lattice).abs() * structures.periodic
        return self.response.pdfs(on_mesh * factor[..., None].float(), u_sums, density)

    def _on_mesh(self, weights: Tensor) -> Tensor:
        """(B, P, M) weights of bins (B, P, bins) shared between points of the mesh."""
        by_step = weights.unflatten(2, (-1, self._per_step))
        with full_precision():
            shared = by_step @ self._shares
        n_steps = shared.shape[2]
        on_mesh = weights.new_zeros((*weights.shape[:2], self.response.size))
        for node in range(STENCIL):
            start = MARGIN - (STENCIL // 2 - 1) + node
            on_mesh[..., start : start + n_steps] += shared[..., node]
        return on_mesh


class _Blocks:
    """Atoms of structures in blocks of `_TILE` (T) that are near each other; lengths in bins.

    `centre` (B, n, 3) in float64, `relative` (B, n, T, 3) positions from it, `species` (B, n, T),
    `present` (B, n, T) 1 where a block has an atom, else 0.
    """

    def __init__(self, structures: Structures, bin_width: float) -> None:
        frac = structures.frac
        frac = torch.where(structures.periodic[:, None, None], frac - frac.floor(), frac)
        order = _packed_order(frac, structures.species)
        position = frac @ structures.lattice / bin_width
        position = _in_blocks(position.gather(1, order[..., None].expand_as(position)), 0.0)
        species = _in_blocks(structures.species.gather(1, order), -1)
        self.species, self.present = species.clamp(min=0), (species >= 0).long()
        is_there = species[..., None] >= 0
        low = position.masked_fill(~is_there, math.inf).amin(2)
        high = position.masked_fill(~is_there, -math.inf).amax(2)
        self._used = is_there.any(dim=2)[..., 0]
        self.centre = torch.where(self._used[..., None], 0.5 * (low + high), 0.0)
        self.relative = torch.where(is_there, position - self.centre[:, :, None], 0.0).float()
        self._half = self.relative.abs().amax(2)

    def tiles(self, translations: Tensor, shifts: Tensor, periodic: Tensor, reach: float) -> Tensor:
        """(n, 4) structure, shift, block and block for all that may hold pairs within reach."""
        between = (self.centre[:, None] - self.centre[:, :, None]).float()
        half = self._half[:, None] + self._half[:, :, None]
        gap = (between[:, None] + translations.float()[:, :, None, None]).abs_() - half[:, None]
        near = gap.clamp_(min=0).square_().sum(4) < reach * reach
        near &= (self._used[:, None] & self._used[:, :, None])[:, None]
        near &= (periodic[:, None] | (shifts == 0).all(1))[:, :, None, None]
        return near.nonzero()


def _tile(
    one: Tensor,
    other: Tensor,
    in_one: Tensor,
    in_other: Tensor,
    kind_one: Tensor,
    kind_other: Tensor,
    start: Tensor,
    size: int,
) -> tuple[Tensor, Tensor]:
    """(t, T, T) bins and what to add to them, for the pairs of blocks with atoms at (t, T, 3).

    Args:
        in_one, in_other: (t, T) how often each atom counts.
        kind_one, kind_other: (t, T) species of each atom.
        start: (t,) first bin of the structure.
        size: bins of each pair of species.
    """
    x, y, z = (one[:, :, None, axis] - other[:, None, :, axis] for axis in range(3))
    place = (torch.sqrt(x * x + y * y + z * z) * (1 << _PARTS)).int()
    kind = _pair_index(kind_one[:, :, None], kind_other[:, None, :])
    index = start[:, None, None] + kind * size + (place >> _PARTS).clamp(max=size - 1)
    part = (place & ((1 << _PARTS) - 1)).long()
    return index, (part + (1 << _COUNT)) * (in_one[:, :, None] * in_other[:, None, :])


def _packed_order(frac: Tensor, species: Tensor) -> Tensor:
    """(B, N) order of atoms in which each `_TILE` are near each other, absent ones last.

    Slabs along the first axis, columns in each along the second, and blocks in each along the
    third (sort-tile-recursive; Leutenegger et al. 1997, DOI 10.1109/ICDE.1997.582015).
    """
    low, high = frac.amin(1, keepdim=True), frac.amax(1, keepdim=True)
    scaled = (frac - low) / (high - low).clamp(min=1e-9) * 0.99
    scaled = torch.where(species[..., None] < 0, 0.999, scaled)
    n_blocks = -(-frac.shape[1] // _TILE)
    per_slab = -(-n_blocks // math.ceil(n_blocks ** (1 / 3)))
    per_column = -(-per_slab // math.ceil(per_slab**0.5))
    rank = torch.arange(frac.shape[1], device=frac.device)
    slab = rank // (per_slab * _TILE)
    column = slab * per_slab + rank % (per_slab * _TILE) // (per_column * _TILE)
    order = scaled[..., 0].argsort(dim=1)
    for axis, group in ((1, slab), (2, column)):
        key = group + scaled[..., axis].gather(1, order)
        order = order.gather(1, key.argsort(dim=1))
    return order


def _in_blocks(values: Tensor, padding: float) -> Tensor:
    """(B, n, T, ...) of values (B, N, ...)."""
    missing = -values.shape[1] % _TILE
    end = values.new_full((len(values), missing, *values.shape[2:]), padding)
    return torch.cat([values, end], dim=1).unflatten(1, (-1, _TILE))


def _shifts(structures: Structures, longest: float) -> Tensor:
    """(n, 3) cells away of the images that may be within reach, of opposite ones one; 0 first."""
    per_height = torch.linalg.inv(structures.lattice).norm(dim=1) * structures.periodic[:, None]
    most = torch.floor(longest * per_height.amax(0) + 1).long() * structures.periodic.any()
    ranges = [torch.arange(-n, n + 1) for n in most.tolist()]
    every = torch.cartesian_prod(*ranges)
    return every[len(every) // 2 :].to(structures.lattice.device)


def _pair_index(one: Tensor, other: Tensor) -> Tensor:
    """Number of an unordered pair of species, in the order of `_species_of_pairs`."""
    low, high = torch.minimum(one, other), torch.maximum(one, other)
    return high * (high + 1) // 2 + low


def _species_of_pairs(n_kinds: int, device: torch.device) -> tuple[Tensor, Tensor]:
    high, low = torch.tril_indices(n_kinds, n_kinds, device=device)
    return low, high
