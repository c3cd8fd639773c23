"""Errors of a measured trace whose host was refined: of its points, its S(Q), scale and length."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from defectgen.point_defects.random_words import normal, random_words, text_word, uniform
from hpc.observables.pdf import Range

_SCALE, _NOISE, _END, _DISTORTION, _KERNEL = -1, -2, -3, -4, -5
"""Counters of the random words of a row; those of the noise of each point count from 0."""
_KERNEL_POINTS = 8
"""To either side; errors of S(Q) are alike over pi / (8 steps of r), 4 1/A in the study's grid."""


class Errors(BaseModel):
    """What parts a sample's trace from a calculated one; nothing by default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    noise: float | Range = Field(
        0.0,
        description="standard deviation of white noise, over the root mean square of the host's "
        "trace; [low, high]: uniform",
    )
    scale: float = Field(
        0.0, ge=0, lt=1, description="largest relative error of the scale, uniform to either side"
    )
    distortion: float | Range = Field(
        0.0,
        description="standard deviation of relative errors of S(Q) - 1 that change slowly with Q, "
        "as those of absorption and Compton corrections do; [low, high]: uniform",
    )
    rmax: Range | None = Field(
        None, description="range of the r beyond which both traces are zero, uniform, A"
    )

    @model_validator(mode="after")
    def _has_ranges(self) -> Errors:
        for name, range_ in (("noise", self.noise), ("distortion", self.distortion)):
            low, high = range_of(range_)
            if not 0 <= low <= high:
                raise ValueError(f"{name} = {range_}: need 0 <= low <= high")
        if self.rmax and not 0 < self.rmax[0] <= self.rmax[1]:
            raise ValueError(f"rmax = {self.rmax}: need 0 < low <= high")
        return self


def range_of(value: float | Range) -> Range:
    """Both ends, of a number the same."""
    return value if isinstance(value, tuple) else (value, value)


class RowErrors:
    """Errors of rows of hosts and variants, from (seed, id, variant, epoch) and nothing else.

    Args:
        ids: of the hosts.
        rows: (n, 2) host and variant of each.
        points: (R,) along the traces.
    """

    def __init__(
        self,
        errors: Errors,
        ids: Iterable[str],
        rows: np.ndarray,
        points: npt.ArrayLike,
        seed: int,
    ) -> None:
        self._errors, self._rows = errors, rows
        self._points = torch.from_numpy(np.array(points, dtype=float))
        self._words = torch.tensor([text_word(f"{seed}/{id_}") for id_ in ids], dtype=torch.int64)

    def pair(
        self, host: Tensor, sample: Tensor, rows: np.ndarray, epoch: int
    ) -> tuple[Tensor, Tensor]:
        """Traces (n, R) of hosts and samples with the errors of rows (n,) in an epoch.

        Args:
            host: zero where nothing is measured.
        """
        structure, variant = torch.from_numpy(self._rows[rows]).unbind(1)
        seeds = random_words(self._words[structure], variant)
        seeds = random_words(seeds, torch.full_like(seeds, epoch)).to(sample.device)

        def drawn(counter: int, low: float, high: float) -> Tensor:
            place = uniform(seeds, torch.full_like(seeds, counter))
            return (low + (high - low) * place)[:, None]

        errors = self._errors
        if errors.rmax:
            inside = self._points.to(host.device) <= drawn(_END, *errors.rmax)
            host, sample = host * inside, sample * inside
        if errors.distortion:
            part = drawn(_DISTORTION, *range_of(errors.distortion)).float()
            kernels = random_words(seeds, torch.full_like(seeds, _KERNEL))
            sample = sample + part * smooth_error(sample, kernels) * (host != 0)
        if errors.scale:
            sample = sample * (1 + drawn(_SCALE, -errors.scale, errors.scale)).float()
        if errors.noise:
            inside = host != 0
            power = host.square().sum(dim=1, keepdim=True) / inside.sum(dim=1, keepdim=True)
            part = drawn(_NOISE, *range_of(errors.noise)).float()
            sample = sample + part * power.sqrt() * normal(seeds, sample.shape[1]) * inside
        return host, sample


def smooth_error(g: Tensor, seeds: Tensor) -> Tensor:
    """What a random smooth factor of S(Q) - 1, of variance 1, makes of traces (b, R).

    A sum of cosines of Q, each of which mixes points of G(r) with those some steps before and
    after.
    """
    amplitudes = normal(seeds, _KERNEL_POINTS) / _KERNEL_POINTS**0.5
    padded = torch.nn.functional.pad(g, (_KERNEL_POINTS, _KERNEL_POINTS))
    error = torch.zeros_like(g)
    for step in range(1, _KERNEL_POINTS + 1):
        before, after = _KERNEL_POINTS - step, _KERNEL_POINTS + step
        around = padded[:, before : before + g.shape[1]] + padded[:, after : after + g.shape[1]]
        error += amplitudes[:, step - 1 : step] * around / 2**0.5
    return error
