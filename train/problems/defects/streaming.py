"""Fresh defects of chosen hosts and their G(r), drawn and computed where a network trains.

For training on variants that are never seen twice, and for generating many at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from defectgen.hosts.host import Host
from defectgen.point_defects.gpu_draws import DefectDraws, Draws
from defectgen.point_defects.settings import DefectSettings
from defectgen.point_defects.variants import HostSupercell
from hpc.observables.pdf import PDFSettings
from pdfcalc.gpu.lattice import Changes, LatticeBatch
from pdfcalc.pdf.lattice import PreparedCrystal


class VariantStream:
    """Hosts prepared for any number of fresh variants.

    On a CPU the compiled lattice engine computes G(r), in the calling thread; on any other device
    the one in torch.

    Args:
        memory: bytes to take at once; None for what suits the device.

    Raises:
        ValueError: a host has no interstitial sites, or no number of its atoms is a fraction in
            the settings' range.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        defects: DefectSettings,
        pdf: PDFSettings,
        device: torch.device | str = "cpu",
        memory: int | None = None,
    ) -> None:
        supercells = [HostSupercell(host, defects) for host in hosts]
        self.draws = DefectDraws(supercells, device, memory)
        self._engine: CompiledLattice | TorchLattice
        if self.draws.device.type == "cpu":
            self._engine = CompiledLattice(self.draws, pdf)
        else:
            self._engine = TorchLattice(self.draws, pdf, memory)

    def draw(self, host: np.ndarray, label: np.ndarray, seeds: Tensor) -> tuple[Tensor, Draws]:
        """Draw defects and compute their G(r).

        The same seed gives the same defects in any company and on any device. On a CPU the G(r)
        are the same to the last bit as well.

        Args:
            host: (B,) index of each row's host.
            label: (B,) what it holds, as in `Draws`.
            seeds: (B,) int64 seed of each row; any numbers, on any device.

        Returns:
            G(r) (B, points), float32, 1/A^2, and what was drawn, on the stream's device.

        Raises:
            ValueError: a host has no room for so many interstitials.
        """
        hosts, labels = (np.asarray(one, dtype=np.int64) for one in (host, label))
        drawn = self.draws.draw(hosts, labels, seeds.to(self.draws.device))
        return self._engine.pdfs(drawn), drawn


class CompiledLattice:
    """G(r) of draws by `pdfcalc.pdf.lattice`, on the CPU; hosts are prepared when first drawn."""

    def __init__(self, draws: DefectDraws, pdf: PDFSettings) -> None:
        self._draws, self._parameters = draws, pdf.parameters
        self._points = pdf.stored.tolist()
        self._prepared: dict[int, PreparedCrystal] = {}

    def pdfs(self, drawn: Draws) -> Tensor:
        """(B, points) float32, 1/A^2."""
        g = np.empty((len(drawn.host), len(self._points)), dtype=np.float32)
        changes = self._draws.changes(drawn)
        for host in np.unique(drawn.host).tolist():
            rows = np.flatnonzero(drawn.host == host)
            g[rows] = self._crystal(host).pdfs([changes[row] for row in rows.tolist()])
        return torch.from_numpy(g)

    def _crystal(self, host: int) -> PreparedCrystal:
        if host not in self._prepared:
            supercell = self._draws.supercells[host]
            low, high = (2 * self._draws.uiso_ranges[host]).tolist()
            crystal, shortest = supercell.crystal, supercell.shortest_pair
            self._prepared[host] = PreparedCrystal(
                crystal, self._parameters, self._points, (low, high), shortest
            )
        return self._prepared[host]


class TorchLattice:
    """G(r) of draws by `pdfcalc.gpu.lattice`, on the device of the draws."""

    def __init__(self, draws: DefectDraws, pdf: PDFSettings, memory: int | None = None) -> None:
        parameters, device = pdf.parameters, draws.device
        hosts = [supercell.host for supercell in draws.supercells]
        self.batch = LatticeBatch(
            [supercell.crystal for supercell in draws.supercells],
            parameters,
            pdf.stored.tolist(),
            (2 * float(draws.uiso_ranges.min()), 2 * float(draws.uiso_ranges.max())),
            device,
            min(supercell.shortest_pair for supercell in draws.supercells),
            memory,
        )
        impurities = draws.supercells[0].settings.impurities
        powers = [parameters.scattering_power(element) for element in impurities]
        own = [parameters.scattering_power(host.element) for host in hosts]
        self._powers = torch.tensor(powers, device=device)
        self._own_powers = torch.tensor(own, device=device)

    def pdfs(self, drawn: Draws) -> Tensor:
        """(B, points) float32, 1/A^2."""
        return self.batch.pdfs(self.changes(drawn))

    def changes(self, drawn: Draws) -> Changes:
        """Draws as the engine takes them."""
        own = self._own_powers[torch.from_numpy(drawn.host).to(self._own_powers.device)]
        power = torch.where(drawn.impurity >= 0, self._powers[drawn.impurity], own)
        places = (drawn.place, drawn.gone, drawn.come)
        return Changes(drawn.host, drawn.n_used, *places, power, drawn.uiso.float())
