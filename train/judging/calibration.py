"""Probabilities and uncertainties that hold on held-out hosts, by one factor each."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat
from torch.nn import functional as F

from train.models import Outputs
from train.runs.files import CALIBRATION, METRICS, damaged, read_content

WITHIN_ONE_DEVIATION = 0.6827  # of normal errors
_MOST_TEMPERATURE = 20.0


class Calibration(BaseModel):
    """Factors fitted on the validation part; without a fit they change nothing.

    The temperature divides the logits (Guo et al., ICML 2017, DOI 10.48550/arXiv.1706.04599).
    Standard deviations are multiplied so that 68 % of the values lie within one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: PositiveFloat = 1.0
    deviation_factors: tuple[PositiveFloat, ...] = ()

    def apply(self, outputs: Outputs) -> Outputs:
        log_deviation = outputs.log_deviation
        if self.deviation_factors:
            log_deviation = log_deviation + log_deviation.new_tensor(self.deviation_factors).log()
        return Outputs(outputs.logits / self.temperature, outputs.mean, log_deviation)


def fit_calibration(
    outputs: Outputs, target: torch.Tensor, regression: torch.Tensor
) -> Calibration:
    """Calibration of outputs for classes (n,) and true values (n, regressions)."""
    from scipy.optimize import minimize_scalar

    logits, target = outputs.logits.double().cpu(), target.cpu()
    ends = math.log(1 / _MOST_TEMPERATURE), math.log(_MOST_TEMPERATURE)
    found = minimize_scalar(
        lambda log: float(F.cross_entropy(logits / math.exp(log), target)), bounds=ends
    )
    factors: list[float] = []
    if outputs.mean.shape[1]:
        errors = (outputs.mean - regression).abs() / outputs.log_deviation.exp()
        factors = errors.double().quantile(WITHIN_ONE_DEVIATION, dim=0).clamp(min=1e-3).tolist()
    return Calibration(temperature=math.exp(found.x), deviation_factors=tuple(factors))


def read_calibration(run: Path, regressions: int) -> Calibration:
    """The run's calibration; a run that is not finished has none, which changes nothing.

    Args:
        regressions: how many values the run's network estimates beside the class.

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
