"""What a refinement leaves of a change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pdfcalc import AtomicStructure, PDFParameters, calculate_pdf
from train.problems.defects.inputs import ABSORBABLE, PairInput, scale_pairs

START = PDFParameters(rmin=1.5, rmax=30.0, qmin=0.6, qmax=23.6, qdamp=0.03, qbroad=0.02, delta2=2.0)
EVERY = slice(0, 2850, 10)
R = START.r[EVERY]


def traces(a=3.6, uiso=0.006, **instrument) -> torch.Tensor:
    """(1, R) of fcc copper."""
    frac = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    copper = AtomicStructure(np.eye(3) * a, frac, ["Cu"] * 4, [uiso] * 4)
    _, g = calculate_pdf(copper, replace(START, **instrument))
    return torch.from_numpy(g[EVERY]).float()[None]


def left_of(changed: torch.Tensor, absorbed) -> float:
    """Part of a change that the input still has."""
    host = traces()
    kept, whole = (
        PairInput("shared", names, R.tolist())(host, changed) for names in (absorbed, ())
    )
    return float((kept[:, 1] - kept[:, 0]).norm() / (whole[:, 1] - whole[:, 0]).norm())


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("scale", {"scale": 1.02}),
        ("cell", {"a": 3.6005}),
        ("uiso", {"uiso": 0.00606}),
        ("qdamp", {"qdamp": 0.0302}),
        ("qbroad", {"qbroad": 0.0204}),
        ("delta2", {"delta2": 2.02}),
    ],
)
def test_what_is_absorbed_is_gone_and_nothing_else(name, changed):
    other = traces(**changed)
    most = 0.25 if name == "delta2" else 0.1
    assert left_of(other, ABSORBABLE) < most
    assert left_of(other, (name,)) < 0.25
    if name in ("scale", "cell", "uiso"):
        assert left_of(other, tuple({"scale", "cell", "uiso"} - {name})) > 0.3


def test_a_vacancy_is_a_scale_and_an_interstitial_is_not():
    host = traces()
    assert left_of(0.95 * host, ("scale",)) < 1e-5
    bump = torch.from_numpy(np.exp(-((R - 2.0) ** 2) / 0.02)).float()
    assert left_of(host + 0.1 * bump, ABSORBABLE) > 0.9


def test_nothing_comes_back_beyond_the_end_of_a_shorter_measurement():
    measured = torch.from_numpy(R < 20)
    host, other = traces() * measured, traces(uiso=0.0066) * measured
    pair = PairInput("shared", ABSORBABLE, R.tolist())(host, other)
    assert torch.equal(pair[0, 0, ~measured], pair[0, 1, ~measured])


def test_traces_may_begin_at_the_origin():
    r = np.arange(0, 30, 0.1)
    host, other = (torch.from_numpy(np.sin(k * r) * (30 - r)).float()[None] for k in (3, 3.01))
    assert PairInput("shared", ABSORBABLE, r.tolist())(host, other).isfinite().all()


@pytest.mark.parametrize("scaling", ["shared", "trace"])
def test_without_a_refinement_pairs_are_scaled_only(scaling):
    host, other = traces(), traces(uiso=0.007)
    assert torch.equal(PairInput(scaling)(host, other), scale_pairs(host, other, scaling))


def test_shared_scaling_keeps_the_relative_amplitude():
    pristine = torch.tensor([[0.0, 2.0, 4.0]])
    defective = torch.tensor([[1.0, 2.0, 3.0]])
    shared = scale_pairs(pristine, defective, "shared")
    torch.testing.assert_close(shared, torch.tensor([[[0.0, 0.5, 1.0], [0.25, 0.5, 0.75]]]))
    trace = scale_pairs(pristine, defective, "trace")
    torch.testing.assert_close(trace, torch.tensor([[[0.0, 0.5, 1.0], [0.0, 0.5, 1.0]]]))
