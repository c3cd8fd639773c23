"""What the files of a run hold, for checking it when they are read."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, field_validator

from train.data.leakage import QUANTILES


class Epoch(BaseModel):
    """A line of metrics.jsonl: these, and the scores that the problem has."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    epoch: PositiveInt
    train_loss: float
    val_loss: float
    learning_rate: float
    seconds: float


class Metrics(BaseModel):
    """metrics.json; a run that has it is finished."""

    model_config = ConfigDict(extra="allow")

    epochs: PositiveInt
    best_epoch: PositiveInt
    val: dict[str, Any]
    test: dict[str, Any]
    seconds: float


class PartLeakage(BaseModel):
    """What a held-out part shares with training, as of `train.data.leakage`."""

    model_config = ConfigDict(allow_inf_nan=False)

    hosts: PositiveInt
    hosts_in_training: NonNegativeInt
    nearest_training_host: dict[str, float] | None = None

    @field_validator("nearest_training_host")
    @classmethod
    def _has_the_quantiles(cls, found: dict[str, float] | None) -> dict[str, float] | None:
        names = [f"{100 * level:g} %" for level in QUANTILES] if found is not None else []
        if lacking := set(names) - set(found or ()):
            raise ValueError(f"it has no {min(lacking)}")
        return found


class Leakage(BaseModel):
    """Of both held-out parts; `left_out` of training, ids."""

    val: PartLeakage
    test: PartLeakage
    left_out: list[str]


class RowsFile(BaseModel):
    """Where the rows of a split are, and their hash."""

    file: Literal["split.safetensors"]
    sha256: str


class SplitContent(BaseModel):
    """split.json."""

    kind: str
    seed: NonNegativeInt
    rows: RowsFile
    leakage: Leakage


class Snapshot(BaseModel):
    """What a snapshot holds beside the states of the trainer's parts."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    history: list[Epoch]
    step: NonNegativeInt
    loss: float
    seconds: float
    best: dict[str, torch.Tensor]
