"""Probabilities and uncertainties that hold on held-out hosts, by one factor each."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat
from torch.nn import functional as F

from train.judging.evaluation import Predicted
from train.models import Outputs
from train.run_files import CALIBRATION, METRICS, damaged, read_content

WITHIN_ONE_DEVIATION = 0.6827  # of normal errors
_MOST_TEMPERATURE = 20.0


class Calibration(BaseModel):
    """Factors fitted on the validation part; without a fit they change nothing.

    The temperatures divide the logits of the classes and of the labels (Guo et al., ICML 2017, DOI
    10.48550/arXiv.1706.04599). Standard deviations are multiplied so that 68 % of the values lie
    within one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: PositiveFloat = 1.0
    label_temperature: PositiveFloat = 1.0
    deviation_factors: tuple[PositiveFloat, ...] = ()

    def apply(self, outputs: Outputs) -> Outputs:
        log_deviation = outputs.log_deviation
        if self.deviation_factors:
            log_deviation = log_deviation + log_deviation.new_tensor(self.deviation_factors).log()
        return outputs._replace(
            logits=outputs.logits / self.temperature,
            labels=outputs.labels / self.label_temperature,
            log_deviation=log_deviation,
        )


def fit_calibration(found: Predicted, log_prevalence: torch.Tensor | None = None) -> Calibration:
    """Calibration of outputs, as far as they have classes, labels and regressions.

    Args:
        found: true values are the targets `class` (n,), `labels` (n, L) and `regression` (n, K).
        log_prevalence: (C,) added to logits of the classes over their temperature, for a network
            that takes all classes for equally frequent where they are not.
    """
    outputs, targets = found
    factors: dict[str, float | tuple[float, ...]] = {}
    if outputs.logits.shape[1]:
        logits, of_class = outputs.logits.double().cpu(), targets["class"].cpu()
        prior = torch.zeros(logits.shape[1]) if log_prevalence is None else log_prevalence
        factors["temperature"] = _temperature(
            lambda t: F.cross_entropy(logits / t + prior, of_class)
        )
    if outputs.labels.shape[1]:
        raw, truth = outputs.labels.double().cpu(), targets["labels"].double().cpu()
        factors["label_temperature"] = _temperature(
            lambda t: F.binary_cross_entropy_with_logits(raw / t, truth)
        )
    if outputs.mean.shape[1]:
        errors = (outputs.mean - targets["regression"]).abs() / outputs.log_deviation.exp()
        within = errors.double().quantile(WITHIN_ONE_DEVIATION, dim=0).clamp(min=1e-3)
        factors["deviation_factors"] = tuple(within.tolist())
    return Calibration.model_validate(factors)


def _temperature(loss: Callable[[float], torch.Tensor]) -> float:
    """The one of the least loss."""
    from scipy.optimize import minimize_scalar

    ends = math.log(1 / _MOST_TEMPERATURE), math.log(_MOST_TEMPERATURE)
    return math.exp(minimize_scalar(lambda log: float(loss(math.exp(log))), bounds=ends).x)


def read_calibration(run: Path, regressions: int) -> Calibration:
    """The run's calibration; a run that is not finished has none, which changes nothing.

    Args:
        regressions: how many values the run's network estimates with their deviations.

    Raises:
        ValueError: the file is damaged, or a finished run has lost it.
    """
    path = run / CALIBRATION
    if not path.exists() and not (run / METRICS).exists():
        return Calibration()
    found = read_content(path, Calibration)
    if left_out := Calibration.model_fields.keys() - found.model_fields_set:
        raise damaged(path, f"it has no {min(left_out)}")
    if len(found.deviation_factors) != regressions:
        raise damaged(path, f"deviation_factors: {len(found.deviation_factors)}, not {regressions}")
    return found
