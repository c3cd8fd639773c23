"""Fresh defects of chosen hosts and their G(r), drawn and computed on a GPU.

For training on variants that are never seen twice, and for generating many at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from defectgen.gpu_draws import DefectDraws, Draws, random_seeds
from defectgen.host import Host
from defectgen.settings import DefectSettings
from defectgen.variants import HostSupercell
from hpc.description import PDFSettings
from pdfcalc.gpu.lattice import Changes, LatticeBatch
from pdfcalc.scattering import scattering_power


class VariantStream:
    """Hosts prepared for any number of fresh variants.

    Args:
        memory: bytes to take at once; None for what suits the device.
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
        low, high = self.draws.uiso_range
        self.lattice = LatticeBatch(
            [supercell.crystal for supercell in supercells],
            pdf.parameters,
            pdf.stored.tolist(),
            (2 * low, 2 * high),
            device,
            min(supercell.shortest_pair for supercell in supercells),
            memory,
        )
        powers = [scattering_power(e, pdf.parameters) for e in defects.impurities]
        own = [scattering_power(host.element, pdf.parameters) for host in hosts]
        self._powers = torch.tensor(powers, device=device)
        self._own_powers = torch.tensor(own, device=device)

    def sample(
        self, host: np.ndarray, label: np.ndarray, generator: torch.Generator
    ) -> tuple[Tensor, Draws]:
        """Draw defects and compute their G(r).

        Args:
            host: (B,) index of each row's host.
            label: (B,) kind of defect, as in `Draws`.
            generator: of the rows' seeds; on any device.

        Returns:
            G(r) (B, points), float32, 1/A^2, and what was drawn, on the stream's device.
        """
        device = self.draws.device
        labels = torch.from_numpy(np.asarray(label, dtype=np.int64)).to(device)
        seeds = random_seeds(len(labels), generator).to(device)
        drawn = self.draws.draw(np.asarray(host, dtype=np.int64), labels, seeds)
        return self.lattice.pdfs(self.changes(drawn)), drawn

    def changes(self, drawn: Draws) -> Changes:
        """Draws as the lattice engine takes them."""
        own = self._own_powers[torch.from_numpy(drawn.host).to(self.draws.device)]
        power = torch.where(drawn.impurity >= 0, self._powers[drawn.impurity], own)
        places = (drawn.place, drawn.gone, drawn.come)
        return Changes(drawn.host, drawn.n_used, *places, power, drawn.uiso)
