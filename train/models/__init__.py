"""Networks and the columns of what they say.

A network has `fit_inputs`, which takes from training inputs (n, ...) whatever it standardises its
input by, and `represent`, the features (B, H) that its outputs are linear in. Those here go from
(B, 2, R) scaled pristine and defective traces to class logits and `regressions` further values. A
new one is a file here and an entry in `MODELS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from train.models.reference import ReferenceCNN
from train.models.residual import ResidualCNN

Model = ReferenceCNN | ResidualCNN
MODELS: dict[str, Callable[..., Model]] = {
    "reference": ReferenceCNN,
    "residual": partial(ResidualCNN, space="real"),
    "reciprocal": partial(ResidualCNN, space="reciprocal"),
}


class Layout(NamedTuple):
    """How many columns of each sort are kept of a row's outputs, in this order."""

    classes: int = 0
    """Logits of classes, of which a row is in one."""
    labels: int = 0
    """Logits of labels, of which a row has any number."""
    regressions: int = 0
    """Means, and after all of them ln of the standard deviation of each."""
    others: int = 0
    """What only the problem knows."""

    @property
    def sizes(self) -> list[int]:
        return [self.classes, self.labels, self.regressions, self.regressions, self.others]


class Outputs(NamedTuple):
    """The columns of a network's output, n rows."""

    logits: torch.Tensor  # (n, classes)
    labels: torch.Tensor  # (n, labels)
    mean: torch.Tensor  # (n, regressions)
    log_deviation: torch.Tensor  # (n, regressions) ln of the standard deviation of each mean
    others: torch.Tensor  # (n, others)

    @classmethod
    def of(cls, columns: torch.Tensor, layout: Layout) -> Outputs:
        return cls(*columns.split(layout.sizes, dim=1))


def build_model(name: str, r: Sequence[float], classes: int, **options: Any) -> Model:
    """A new network for traces on the points r, A, and `classes` classes; `options` are its own.

    ValueError if there is no network of that name.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r} is not one of {', '.join(MODELS)}")
    return MODELS[name](r, classes, **options)
