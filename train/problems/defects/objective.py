"""What a fit minimises: weighted cross entropy of the classes, and errors of two estimates."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from train.data.sources import Batch
from train.judging.evaluation import Predicted
from train.models import Layout, Outputs
from train.problems import Term

ERROR_SCALE = 0.05
"""Of regressions, below which their loss is quadratic: most errors count as they are, and those of
rows that cannot be known do not outweigh the rest."""
DEVIATION_WEIGHT = 0.01
"""Of the likelihood of the errors. Adam's steps do not depend on it; it keeps the gradient of the
deviations, which shape nothing else, from deciding how the others are clipped."""


class DefectObjective:
    """Classes count by the inverse of their frequency in training.

    Args:
        target: (n,) classes of the training rows.
        regression_weight: of the estimates, of which the layout may have none.
    """

    def __init__(
        self, target: np.ndarray, layout: Layout, regression_weight: float, device: torch.device
    ) -> None:
        counts = np.bincount(target, minlength=layout.classes)
        weight = counts.sum() / (layout.classes * np.maximum(counts, 1))
        self.class_weight = torch.from_numpy(weight).float().to(device)
        self._layout = layout
        # Of no weight they stay in the sum: every parameter of a process must have its gradient.
        self._per_row = layout.regressions / regression_weight if regression_weight else math.inf

    def weights(self, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        of_class = self.class_weight[targets["class"]].sum(1)
        found = {"class": of_class}
        if self._layout.regressions:
            rows = targets["class"].shape[1]
            found["regression"] = torch.full_like(of_class, rows * self._per_row)
        return found

    def losses(self, outputs: Tensor, batch: Batch, weights: Mapping[str, Tensor]) -> list[Term]:
        found = Outputs.of(outputs, self._layout)
        of_class = F.cross_entropy(
            found.logits, batch.targets["class"], self.class_weight, reduction="sum"
        )
        terms = [Term(of_class, weights["class"])]
        if self._layout.regressions:
            truth = batch.targets["regression"]
            error = F.smooth_l1_loss(found.mean, truth, reduction="sum", beta=ERROR_SCALE)
            # Of a Laplace density of the errors, found by means that this does not move.
            away = (found.mean.detach() - truth).abs() * (-found.log_deviation).exp()
            error = error + DEVIATION_WEIGHT * (away + found.log_deviation).sum()
            terms.append(Term(error, weights["regression"], is_shown=False))
        return terms

    def validate(self, found: Predicted) -> dict[str, float]:
        """Weighted loss, and accuracy."""
        logits, target = found.outputs.logits, found.targets["class"]
        loss = F.cross_entropy(logits, target, self.class_weight.cpu())
        accuracy = (logits.argmax(1) == target).float().mean()
        return {"val_loss": float(loss), "val_accuracy": float(accuracy)}
