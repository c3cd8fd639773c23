"""Temperature and widths that are known beforehand are found again."""

from __future__ import annotations

import pytest
import torch

from train.judging.calibration import CALIBRATION, Calibration, fit_calibration, read_calibration
from train.models import Outputs


def overconfident_outputs(n: int = 20_000) -> tuple[Outputs, torch.Tensor, torch.Tensor]:
    """Logits three times too large and standard deviations half of the errors'."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(n, 4, generator=random)
    target = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    truth = torch.randn(n, 2, generator=random)
    mean = truth + 0.2 * torch.randn(n, 2, generator=random)
    return Outputs(3 * logits, mean, torch.full((n, 2), 0.1).log()), target, truth


def test_calibration_undoes_overconfidence():
    outputs, target, truth = overconfident_outputs()
    calibration = fit_calibration(outputs, target, truth)
    assert calibration.temperature == pytest.approx(3, rel=0.05)
    assert calibration.deviation_factors == pytest.approx((2, 2), rel=0.05)
    found = calibration.apply(outputs)
    torch.testing.assert_close(found.logits, outputs.logits / calibration.temperature)
    within = (found.mean - truth).abs() <= found.log_deviation.exp()
    torch.testing.assert_close(within.float().mean(0), torch.full((2,), 0.683), atol=0.01, rtol=0)


def test_networks_without_estimates_have_none_to_calibrate():
    outputs, target, _ = overconfident_outputs(1000)
    bare = Outputs(outputs.logits, outputs.mean[:, :0], outputs.log_deviation[:, :0])
    calibration = fit_calibration(bare, target, torch.zeros(1000, 2))
    assert calibration.deviation_factors == ()
    assert calibration.apply(bare).mean.shape == (1000, 0)


def test_a_run_without_calibration_is_taken_as_it_is_and_a_damaged_one_is_refused(tmp_path):
    assert read_calibration(tmp_path, 2) == Calibration()
    (tmp_path / CALIBRATION).write_text('{"temperature": "hot"}')
    with pytest.raises(ValueError, match=r"calibration.json is damaged"):
        read_calibration(tmp_path, 2)
