"""What the lattice engine in torch has to know of each crystal, as tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import coo_matrix
from torch import Tensor

from pdfcalc.crystals.displacements import Sites
from pdfcalc.gpu.device import full_precision
from pdfcalc.gpu.response import MeshResponse
from pdfcalc.kernels.counts import count_around
from pdfcalc.kernels.mesh import STENCIL, mesh_shares
from pdfcalc.pdf.lattice import LatticeCrystal
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.pdf.peaks import Shells


class Tables:
    """Crystals of about as many displacement classes, padded to the most (C) and most sites (S).

    Args:
        shortest: pairs closer than this never occur, A.
    """

    def __init__(
        self,
        crystals: Sequence[LatticeCrystal],
        parameters: PDFParameters,
        response: MeshResponse,
        shortest: float,
        device: torch.device,
    ) -> None:
        self._mesh = response.size

        def numbers(values: list, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self.power = numbers([parameters.scattering_power(c.element) for c in crystals])
        self.uiso = numbers([c.uiso for c in crystals])
        self.n_atoms = numbers([c.n_atoms for c in crystals])
        self.volume = numbers([c.sites.volume for c in crystals])
        self._n_sites = numbers([len(c.sites.frac) for c in crystals], torch.int64)
        self._repeats = numbers([c.sites.repeats.tolist() for c in crystals], torch.int64)
        self._same_place = numbers([int(c.sites.class_of[0, 0, 0]) for c in crystals], torch.int64)
        classes, starts = _class_tables([crystal.sites for crystal in crystals])
        self._classes = torch.from_numpy(classes).to(device)
        self._start = torch.from_numpy(starts).to(device)
        self._around, self._pristine = (
            torch.from_numpy(array).to(device) for array in _surroundings(crystals)
        )
        spreads = [_to_mesh(crystal.sites, response, shortest) for crystal in crystals]
        longest = max(len(index) for index, _ in spreads)
        # What pads the rows goes to an extra class behind the others.
        index = np.full((len(spreads), longest), self._around.shape[2] * self._mesh, dtype=np.int32)
        value = np.zeros((len(spreads), longest), dtype=np.float32)
        for row, (places, shares) in enumerate(spreads):
            index[row, : len(places)], value[row, : len(places)] = places, shares
        self._index, self._value = (torch.from_numpy(a).to(device) for a in (index, value))

    def bytes_per_row(self, n_places: int) -> int:
        """Memory that `count` and `on_mesh` take for each variant."""
        n_classes = self._around.shape[2]
        return 40 * n_places * n_places + 12 * 3 * n_classes + 4 * 3 * self._mesh

    @property
    def bytes_per_crystal(self) -> int:
        """Memory that `count` and `on_mesh` take for each crystal."""
        _, n_sites, n_classes = self._around.shape
        return 4 * n_classes * (self._mesh + n_sites) + 16 * self._index.shape[1]

    def count(self, members: Tensor, place: Tensor, gone: Tensor, come: Tensor) -> Tensor:
        """Pairs of own atoms, of own atoms with new ones, and of new ones, by class.

        Args:
            members: (h,) crystals.
            place, gone, come: (h, V, D) as in `Changes`.

        Returns:
            (h, V, 3, C), exact in float32.
        """
        n_places = place.shape[2]
        site, as_first, as_second = self._split(members, place)
        counts = gone.new_zeros((*place.shape[:2], 3, self._around.shape[2]))
        first, second = torch.triu_indices(n_places, n_places, 1, device=place.device)
        classes = self._classes[as_first[..., first] + as_second[..., second]].long()[:, :, None]
        pairs = torch.stack(
            [
                2 * gone[..., first] * gone[..., second],
                -gone[..., first] * come[..., second] - come[..., first] * gone[..., second],
                2 * come[..., first] * come[..., second],
            ],
            dim=2,
        )
        counts.scatter_add_(3, classes.expand(-1, -1, 3, -1), pairs)
        n_own, n_both, n_come = gone.square().sum(2), (gone * come).sum(2), come.sum(2)
        alone = torch.stack([n_own, -n_both, n_come], dim=2)[..., None]
        same = self._same_place[members, None, None, None].expand(-1, place.shape[1], 3, 1)
        counts.scatter_add_(3, same, alone)
        return self._add_surroundings(counts, members, site, gone, come)

    def _split(self, members: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Site of each place, and its terms in the index of a class: as the first, as the second.

        All are (h, V, D).
        """
        a, b, c = self._repeats[members, :, None, None].unbind(1)
        site = place.div(a * b * c, rounding_mode="floor")
        cell = place - site * (a * b * c)
        wide_b, wide_c = 2 * b - 1, 2 * c - 1
        block = (2 * a - 1) * wide_b * wide_c
        along_a = cell.div(b * c, rounding_mode="floor")
        along_b = cell.div(c, rounding_mode="floor") - along_a * b
        along_c = cell - cell.div(c, rounding_mode="floor") * c
        difference = (along_a * wide_b + along_b) * wide_c + along_c
        # The table begins with the most negative difference of cells.
        middle = block.div(2, rounding_mode="floor")
        n_sites, start = (x[members, None, None] for x in (self._n_sites, self._start))
        return site, start + site * n_sites * block + middle - difference, site * block + difference

    def _add_surroundings(
        self, counts: Tensor, members: Tensor, site: Tensor, gone: Tensor, come: Tensor
    ) -> Tensor:
        """Add the pairs of changed places with the unchanged crystal, and those of itself."""
        around = self._around[members]
        by_site = gone.new_zeros((*gone.shape[:2], 2, around.shape[1]))
        changed = torch.stack([-2 * gone, come], dim=2)
        by_site.scatter_add_(3, site[:, :, None].expand_as(changed), changed)
        with full_precision():
            seen = by_site.flatten(1, 2) @ around
        counts[:, :, :2] += seen.view(*gone.shape[:2], 2, -1)
        counts[:, :, 0] += self._pristine[members, None]
        return counts

    def on_mesh(self, members: Tensor, weights: Tensor) -> Tensor:
        """(h, V, 3, M) weights (h, V, 3, C) of classes, over distance, on the mesh."""
        n_classes = self._around.shape[2]
        matrix = weights.new_zeros((len(members), n_classes + 1, self._mesh))
        matrix.view(len(members), -1).scatter_(1, self._index[members].long(), self._value[members])
        with full_precision():
            on_mesh = weights.flatten(1, 2) @ matrix[:, :-1]
        return on_mesh.view(*weights.shape[:3], self._mesh)


def _class_tables(crystals: Sequence[Sites]) -> tuple[np.ndarray, np.ndarray]:
    """Class of each (site, site, difference of cells) for all crystals, and where each starts."""
    tables: list[np.ndarray] = []
    known: dict[tuple, int] = {}
    starts, size = [], 0
    for sites in crystals:
        repeats = tuple(sites.repeats.tolist())
        key = repeats, sites.class_of.tobytes()
        if key not in known:
            known[key] = size
            steps = [np.arange(1 - n, n) % n for n in repeats]
            cells = np.ravel_multi_index(np.meshgrid(*steps, indexing="ij"), repeats).ravel()
            tables.append(sites.class_of[:, :, cells].astype(np.int32).ravel())
            size += len(tables[-1])
        starts.append(known[key])
    return np.concatenate(tables), np.array(starts)


def _surroundings(crystals: Sequence[LatticeCrystal]) -> tuple[np.ndarray, np.ndarray]:
    """(H, S, C) filled sites that each site sees, by class, and (H, C) that of all filled sites."""
    n_sites = max(len(crystal.sites.frac) for crystal in crystals)
    n_classes = max(len(crystal.sites.vectors) for crystal in crystals)
    around = np.zeros((len(crystals), n_sites, n_classes), dtype=np.float32)
    pristine = np.zeros((len(crystals), n_classes), dtype=np.float32)
    for row, crystal in enumerate(crystals):
        class_of = crystal.sites.class_of
        seen = count_around(class_of, crystal.n_filled, len(crystal.sites.vectors))
        around[row, : seen.shape[0], : seen.shape[1]] = seen
        every = seen[: crystal.n_filled].sum(axis=0) * (crystal.n_atoms // crystal.n_filled)
        pristine[row, : len(every)] = every
    return around, pristine


def _to_mesh(
    sites: Sites, response: MeshResponse, shortest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Places class * M + point and elements of the matrix that lays classes on the mesh."""
    shells = Shells(sites.vectors, sites.lattice, response.longest)
    member, distance = shells.images
    possible = distance >= shortest * (1 - 1e-9)
    member, distance = member[possible], distance[possible]
    first, shares = mesh_shares(distance, response.step)
    rows = np.repeat(member, STENCIL)
    columns = (first[:, None] + np.arange(STENCIL)).ravel()
    shape = len(sites.vectors), response.size
    matrix = coo_matrix((shares.ravel(), (rows, columns)), shape).tocsr()
    rows = np.repeat(np.arange(shape[0]), np.diff(matrix.indptr))
    return rows * response.size + matrix.indices, matrix.data.astype(np.float32)
