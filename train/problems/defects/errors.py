"""Errors of a measured trace whose host was refined: noise, and what is unknown of its scale."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from defectgen.point_defects.random_words import normal, random_words, text_word, uniform

_SCALE, _NOISE = -1, -2
"""Counters of the random words of a row's scale and noise; those of each point count from 0."""


class Errors(BaseModel):
    """What parts a sample's trace from a calculated one; nothing by default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    noise: float | tuple[float, float] = Field(
        0.0,
        description="standard deviation of white noise, over the root mean square of the host's "
        "trace; [low, high]: uniform",
    )
    scale: float = Field(
        0.0, ge=0, lt=1, description="largest relative error of the scale, uniform to either side"
    )

    @model_validator(mode="after")
    def _has_a_range(self) -> Errors:
        low, high = self.noise_range
        if not 0 <= low <= high:
            raise ValueError(f"noise = {self.noise}: need 0 <= low <= high")
        return self

    @property
    def noise_range(self) -> tuple[float, float]:
        return self.noise if isinstance(self.noise, tuple) else (self.noise, self.noise)


class RowErrors:
    """Errors of rows of hosts and variants, from (seed, id, variant, epoch) and nothing else.

    Args:
        ids: of the hosts.
        rows: (n, 2) host and variant of each.
    """

    def __init__(self, errors: Errors, ids: Iterable[str], rows: np.ndarray, seed: int) -> None:
        self._errors, self._rows = errors, rows
        self._words = torch.tensor([text_word(f"{seed}/{id_}") for id_ in ids], dtype=torch.int64)

    def added(self, host: Tensor, sample: Tensor, rows: np.ndarray, epoch: int) -> Tensor:
        """The samples' traces (n, R) with the errors of rows (n,) in an epoch.

        Args:
            host: (n, R) traces of their hosts, zero where nothing is measured.
        """
        structure, variant = torch.from_numpy(self._rows[rows]).unbind(1)
        seeds = random_words(self._words[structure], variant)
        seeds = random_words(seeds, torch.full_like(seeds, epoch)).to(sample.device)
        if self._errors.scale:
            place = 2 * uniform(seeds, torch.full_like(seeds, _SCALE)) - 1
            sample = sample * (1 + self._errors.scale * place).float()[:, None]
        low, high = self._errors.noise_range
        if high:
            inside = host != 0
            power = host.square().sum(dim=1, keepdim=True) / inside.sum(dim=1, keepdim=True)
            part = low + (high - low) * uniform(seeds, torch.full_like(seeds, _NOISE))
            noise = part.float()[:, None] * power.sqrt() * normal(seeds, sample.shape[1])
            sample = sample + noise * inside
        return sample
