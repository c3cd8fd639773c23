from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from train.problems.defects.amplitudes import AMPLITUDES, Amplitudes
from train.problems.defects.inputs import PairInput

R = np.arange(1.5, 12, 0.05)
DENSITY = 0.06


def traces(density: float, height: float) -> torch.Tensor:
    """(1, R) -4 pi r rho0 and three peaks, the first of them from 3 A on."""
    peaks = sum(height / at * np.exp(-(((R - at) / 0.05) ** 2) / 2) for at in (3.6, 5.1, 6.2))
    return torch.from_numpy(-4 * math.pi * R * density + 30 * peaks)[None].float()


@pytest.fixture
def amplitudes() -> Amplitudes:
    return Amplitudes(PairInput("shared"), R.tolist())


def test_a_scaled_trace_has_its_scale_everywhere_and_no_rest(amplitudes):
    host = traces(DENSITY, 1)
    found = amplitudes(host, 0.95 * host)[0]
    torch.testing.assert_close(found[:6], torch.full((6,), 0.95).double(), rtol=1e-6, atol=0)
    assert float(found[6]) == pytest.approx(0, abs=1e-6)
    assert float(found[7]) == pytest.approx(-1, abs=1e-6)
    assert found.shape == (AMPLITUDES + 1,)


def test_the_slope_before_the_first_peak_is_the_density(amplitudes):
    found = amplitudes(traces(DENSITY, 1), traces(1.03 * DENSITY, 1.2))[0]
    assert float(found[0]) == pytest.approx(1.03, abs=5e-3)
    assert float(found[1]) > 1.15


def test_what_a_refinement_takes_up_is_no_amplitude():
    host, absorbed = traces(DENSITY, 1), PairInput("shared", ("scale",), R.tolist())
    found = Amplitudes(absorbed, R.tolist())(host, 0.95 * host)[0]
    torch.testing.assert_close(found[:6], torch.ones(6).double(), rtol=1e-5, atol=0)
