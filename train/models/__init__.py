"""Networks from (B, 2, R) scaled pristine and defective traces to class logits and regressions.

A network has `regressions`, how many values it estimates beside the class, `fit_inputs`, which
takes from the training pairs (n, 2, R) whatever it standardises its input by, and `represent`, the
features (B, H) that its outputs are linear in. A new one is a file here and an entry in `MODELS`.
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


class Outputs(NamedTuple):
    """The columns of a network's output, n rows."""

    logits: torch.Tensor  # (n, classes)
    mean: torch.Tensor  # (n, regressions)
    log_deviation: torch.Tensor  # (n, regressions) ln of the standard deviation of each mean

    @classmethod
    def of(cls, columns: torch.Tensor, classes: int) -> Outputs:
        regressions = (columns.shape[1] - classes) // 2
        return cls(*columns.split([classes, regressions, regressions], dim=1))


def build_model(name: str, r: Sequence[float], classes: int, **options: Any) -> Model:
    """A new network for traces on the points r, A, and `classes` classes; `options` are its own.

    ValueError if there is no network of that name.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r} is not one of {', '.join(MODELS)}")
    return MODELS[name](r, classes, **options)
