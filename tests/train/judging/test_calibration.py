"""Temperature and widths that are known beforehand are found again."""

from __future__ import annotations

import pytest
import torch

from train.judging.calibration import CALIBRATION, Calibration, fit_calibration, read_calibration
from train.judging.evaluation import Predicted
from train.models import Outputs


def overconfident(n: int = 20_000) -> Predicted:
    """Logits three times too large and standard deviations half of the errors'."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(n, 4, generator=random)
    target = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    truth = torch.randn(n, 2, generator=random)
    mean = truth + 0.2 * torch.randn(n, 2, generator=random)
    empty = torch.zeros(n, 0)
    outputs = Outputs(3 * logits, empty, mean, torch.full((n, 2), 0.1).log(), empty)
    return Predicted(outputs, {"class": target, "regression": truth})


def test_calibration_undoes_overconfidence():
    outputs, targets = overconfident()
    calibration = fit_calibration(Predicted(outputs, targets))
    assert calibration.temperature == pytest.approx(3, rel=0.05)
    assert calibration.deviation_factors == pytest.approx((2, 2), rel=0.05)
    found = calibration.apply(outputs)
    torch.testing.assert_close(found.logits, outputs.logits / calibration.temperature)
    within = (found.mean - targets["regression"]).abs() <= found.log_deviation.exp()
    torch.testing.assert_close(within.float().mean(0), torch.full((2,), 0.683), atol=0.01, rtol=0)


def test_networks_without_estimates_have_none_to_calibrate():
    outputs, targets = overconfident(1000)
    bare = outputs._replace(mean=outputs.others, log_deviation=outputs.others)
    calibration = fit_calibration(Predicted(bare, targets))
    assert calibration.deviation_factors == ()
    assert calibration.apply(bare).mean.shape == (1000, 0)


def test_labels_have_a_temperature_of_their_own():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 2, generator=random)
    truth = torch.bernoulli(logits.sigmoid(), generator=random)
    empty = torch.zeros(20_000, 0)
    outputs = Outputs(empty, 3 * logits, empty, empty, empty)
    calibration = fit_calibration(Predicted(outputs, {"labels": truth}))
    assert calibration.label_temperature == pytest.approx(3, rel=0.05)
    assert (calibration.temperature, calibration.deviation_factors) == (1.0, ())
    found = calibration.apply(outputs).labels
    torch.testing.assert_close(found, outputs.labels / calibration.label_temperature)


def test_a_run_without_calibration_is_taken_as_it_is_and_a_damaged_one_is_refused(tmp_path):
    assert read_calibration(tmp_path, 2) == Calibration()
    (tmp_path / CALIBRATION).write_text('{"temperature": "hot"}')
    with pytest.raises(ValueError, match=r"calibration.json is damaged"):
        read_calibration(tmp_path, 2)
