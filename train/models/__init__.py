"""Networks from (B, 2, R) scaled pristine and defective traces to class logits and regressions.

A network has `regression_outputs`, how many columns follow the logits, and `fit_inputs`, which
takes from the training pairs (n, 2, R) whatever it standardises its input by. A new one is a file
here and an entry in `MODELS`.
"""

from __future__ import annotations

from typing import Any

from train.models.reference import ReferenceCNN
from train.models.residual import ResidualCNN
from train.models.transformer import ConvolutionalTransformer

Model = ReferenceCNN | ResidualCNN | ConvolutionalTransformer
MODELS: dict[str, type[Model]] = {
    "reference": ReferenceCNN,
    "residual": ResidualCNN,
    "transformer": ConvolutionalTransformer,
}


def build_model(name: str, points: int, classes: int, **options: Any) -> Model:
    """A new network for traces of `points` and `classes` classes; `options` are its own.

    ValueError if there is no network of that name.
    """
    if name not in MODELS:
        raise ValueError(f"model {name!r} is not one of {', '.join(MODELS)}")
    return MODELS[name](points, classes, **options)
