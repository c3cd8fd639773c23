"""Samples as a measurement has them, and samples whose defects are others in every epoch."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from train.data.reading import Share
from train.data.sources import Batch, StoreSource
from train.problems.defects.errors import Errors, RowErrors
from train.problems.defects.examples import DefectExamples, regression_of
from train.problems.defects.fresh_draws import FreshDraws, Variation

DRAWN_AT_ONCE = 4096
"""Hosts. More would take longer to draw than a process has that is asked to stop."""


class ErringSource(StoreSource):
    """The rows of the store, each with errors of its own in every epoch."""

    def __init__(
        self,
        examples: DefectExamples,
        inputs: nn.Module,
        errors: Errors,
        seed: int,
        device: torch.device,
        resident: bool,
    ) -> None:
        super().__init__(examples, inputs, device, resident)
        self._errors = RowErrors(errors, examples.id, examples.rows, examples.points, seed)

    def made_of(self, taken: Sequence[Tensor], rows: np.ndarray, epoch: int) -> Tensor:
        host, sample = taken
        return self.inputs(*self._errors.pair(host, sample, rows, epoch))


class FreshSource:
    """Other defects in every epoch, in the hosts of the rows asked for and of the rows' kinds."""

    def __init__(
        self,
        examples: DefectExamples,
        inputs: nn.Module,
        errors: Errors,
        variation: Variation,
        seed: int,
        device: torch.device,
    ) -> None:
        self.examples, self.inputs = examples, inputs.to(device)
        self._errors = RowErrors(errors, examples.id, examples.rows, examples.points, seed)
        self.draws = FreshDraws.of_store(examples.path, variation, seed, device)

    def in_turn(self, shares: Iterable[Share], epoch: int) -> Generator[Batch]:
        for share in shares:
            yield self.samples(share.rows, epoch)

    def samples(self, rows: np.ndarray, epoch: int = 0) -> Batch:
        examples = self.examples
        structure, variant = examples.rows[rows].T
        label = examples.label[structure, variant]
        drawn = self.draws.draw(structure, label, variant, epoch)
        inputs = self.inputs(*self._errors.pair(drawn.pristine, drawn.defective, rows, epoch))
        host = torch.from_numpy(examples.host_number[structure]).to(inputs.device)
        regression = regression_of(drawn.concentration, drawn.atomic_number, host)
        target = torch.from_numpy(examples.target[rows]).to(inputs.device)
        return Batch(inputs, {"class": target, "regression": regression})
