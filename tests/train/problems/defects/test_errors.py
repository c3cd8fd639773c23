"""Errors of measured traces: what they are, and that they depend on nothing but their row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import zarr

from train.data.store import Dataset
from train.problems.defects import PLUG_IN as Defects
from train.problems.defects.errors import Errors, RowErrors
from train.problems.defects.examples import REFINED
from train.problems.defects.recipes import make_recipe

IDS = [f"host {number}" for number in range(40)]
ROWS = np.array([(host, variant) for host in range(40) for variant in range(5)])
R = np.linspace(1.5, 30, 300)


def traces() -> tuple[torch.Tensor, torch.Tensor]:
    host = np.sin(3 * R) * np.linspace(0.5, 2, len(ROWS))[:, None]
    return torch.from_numpy(host).float(), torch.from_numpy(1.01 * host).float()


def errors_of(chosen: np.ndarray, epoch: int = 0, seed: int = 0, **errors: Any) -> torch.Tensor:
    host, sample = (trace[chosen] for trace in traces())
    adder = RowErrors(Errors(**errors), IDS, ROWS, R, seed)
    return adder.pair(host, sample, chosen, epoch)[1] - sample


def test_noise_is_white_and_a_part_of_the_root_mean_square_of_the_host():
    every = np.arange(len(ROWS))
    host, _ = traces()
    noise = errors_of(every, noise=0.02) / host.square().mean(1, keepdim=True).sqrt()
    assert noise.std(1).numpy() == pytest.approx(0.02, rel=0.2)
    assert noise.std() == pytest.approx(0.02, rel=0.01)
    flat = noise.numpy() / 0.02
    assert np.abs((flat[:, 1:] * flat[:, :-1]).mean()) < 0.01
    assert np.abs((flat[1:] * flat[:-1]).mean()) < 0.01


def test_a_scale_is_of_the_whole_trace_and_uniform():
    every = np.arange(len(ROWS))
    _, sample = traces()
    factor = errors_of(every, scale=0.01) / sample
    np.testing.assert_allclose(factor.std(1), 0, atol=1e-4)
    found = factor.mean(1).numpy()
    assert np.abs(found).max() <= 0.01
    assert np.quantile(found, [0.1, 0.5, 0.9]) == pytest.approx([-0.008, 0, 0.008], abs=0.002)


def test_errors_depend_on_seed_row_and_epoch_alone():
    chosen = np.array([7, 3, 190, 44])
    some, all_ = errors_of(chosen, noise=0.01), errors_of(np.arange(len(ROWS)), noise=0.01)
    assert torch.equal(some, all_[chosen])
    for other in ({"epoch": 1}, {"seed": 1}):
        assert not torch.isclose(some, errors_of(chosen, noise=0.01, **other)).any()


def test_nothing_is_added_where_nothing_was_measured():
    host, sample = traces()
    host[:, 200:], sample[:, 200:] = 0, 0
    rows = np.arange(len(ROWS))
    errors = Errors(noise=0.1, scale=0.1, distortion=0.1)
    _, found = RowErrors(errors, IDS, ROWS, R, 0).pair(host, sample, rows, 0)
    assert not found[:, 200:].any()
    assert found[:, :200].all()


def test_both_traces_end_where_the_measurement_does():
    host, sample = traces()
    adder = RowErrors(Errors(rmax=(15.0, 25.0), noise=0.1), IDS, ROWS, R, 0)
    both = adder.pair(host, sample, np.arange(len(ROWS)), 0)
    ends = [R[(trace != 0).numpy().sum(1) - 1] for trace in both]
    np.testing.assert_array_equal(*ends)
    assert np.quantile(ends[0], [0.0, 0.5, 1.0]) == pytest.approx([15, 20, 25], abs=0.8)
    assert torch.equal(both[0], host * (both[0] != 0))


def test_errors_of_the_structure_factor_are_alike_over_some_inverse_angstroms():
    error = errors_of(np.arange(len(ROWS)), distortion=0.05)
    _, sample = traces()
    # Of a random factor of S(Q) - 1 with this deviation; at a single Q, as that of a sine wave is.
    part = error[:, 100:200].square().mean(1).sqrt() / sample[:, 100:200].square().mean(1).sqrt()
    assert 0.02 < float(part.square().mean().sqrt()) < 0.08
    spectrum = np.abs(np.fft.rfft(error.numpy()[:, 20:-20], axis=1)).mean(0)
    assert spectrum.argmax() == pytest.approx(3 * 260 * np.diff(R)[0] / (2 * np.pi), abs=1)


@pytest.fixture(scope="module")
def refined(make_store, tmp_path_factory):
    """A store with hosts that were refined against each sample."""
    path = make_store(tmp_path_factory.mktemp("refined") / "toy.zarr")
    group = zarr.open_group(path, mode="r+")
    of_samples = np.asarray(group["g"]) + 0.5
    names = ("structure", "variant", "r")
    group.create_array(REFINED, data=of_samples, dimension_names=names)
    return path


@pytest.mark.parametrize(
    ("choices", "is_refined"),
    [({}, True), ({"absorbed": ["cell", "uiso", "scale"]}, True), ({"absorbed": ["uiso"]}, False)],
)
def test_a_sample_is_compared_with_the_host_refined_against_it(refined, choices, is_refined):
    data = Dataset.open(refined)
    problem = Defects.of(data, make_recipe("default", choices))
    examples = problem.examples(data)
    rows = np.arange(0, len(examples.rows), 7)
    structure, variant = examples.rows[rows].T
    of_store = (
        data.read(REFINED)[structure, variant] if is_refined else data.read("g")[structure, 0]
    )
    pairs = problem.stored(examples, 0, torch.device("cpu")).samples(rows).inputs
    expected = (of_store - of_store.min(1)[:, None]) / np.ptp(of_store, axis=1)[:, None]
    np.testing.assert_allclose(pairs[:, 0], expected, atol=1e-5)
    assert problem.trace.array == "g"


def test_what_is_judged_has_errors_and_repeats(refined):
    data = Dataset.open(refined)
    clean, noisy = (
        Defects.of(data, make_recipe("default", {"errors.noise": noise, "errors.scale": 0}))
        for noise in (0.0, 0.02)
    )
    rows = np.arange(20)

    def samples(problem, epoch: int = 0) -> torch.Tensor:
        examples = problem.examples(data)
        return problem.stored(examples, 3, torch.device("cpu")).samples(rows, epoch).inputs

    assert torch.equal(samples(noisy), samples(noisy))
    assert torch.equal(samples(noisy)[:, 0], samples(clean)[:, 0])
    assert not torch.isclose(samples(noisy)[:, 1], samples(clean)[:, 1], atol=1e-6).all()
    assert not torch.equal(samples(noisy), samples(noisy, epoch=1))
    assert torch.equal(samples(clean), samples(clean, epoch=1))


def test_noise_may_have_a_range():
    host, _ = traces()
    noise = errors_of(np.arange(len(ROWS)), noise=(0.01, 0.03))
    parts = (noise.std(1) / host.square().mean(1).sqrt()).numpy()
    assert np.quantile(parts, [0.1, 0.5, 0.9]) == pytest.approx([0.012, 0.02, 0.028], abs=0.003)
    with pytest.raises(ValueError, match=r"errors: noise = \(0.03, 0.01\): need 0 <= low <= high"):
        make_recipe("default", {"errors.noise": [0.03, 0.01]})
