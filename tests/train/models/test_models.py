from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from train.models import MODELS, build_model
from train.models.blocks import ResidualBlock, as_images
from train.models.features import PairFeatures, sine_transform
from train.problems.defects.recipes import RECIPES

NAMES_OF_OURS = [name for name in MODELS if name != "reference"]


def grid(points):
    return torch.linspace(1.5, 29.9, points).tolist()


def test_reference_network_has_the_published_size():
    model = build_model("reference", grid(300), 4)
    assert sum(p.numel() for p in model.parameters()) == 3_610_628
    assert model.hidden[1].in_features == 4736


@pytest.mark.parametrize("points", [300, 90, 37])
@pytest.mark.parametrize("name", MODELS)
def test_output_has_a_logit_for_each_class_and_gradients_reach_all_weights(name, points):
    torch.manual_seed(0)
    model = build_model(name, grid(points), 4)
    output = model(torch.rand(3, 2, points))
    assert output.shape == (3, 4 + 2 * model.regressions)
    output.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_an_unknown_network_is_one_line():
    with pytest.raises(
        ValueError, match="model 'resnet' is not one of reference, residual, reciprocal"
    ):
        build_model("resnet", grid(300), 4)


def test_the_reference_network_is_one_of_whole_kernels(monkeypatch):
    torch.manual_seed(0)
    model = build_model("reference", grid(90), 4).double().eval()
    pairs = torch.rand(3, 2, 90, dtype=torch.double)
    found = model(pairs)
    whole = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size[0] > 1]
    assert len(whole) == 5
    monkeypatch.setattr(type(whole[0]), "forward", torch.nn.Conv2d.forward)
    torch.testing.assert_close(model(pairs), found)


def test_dropout_of_the_reference_network_is_an_option():
    def rates(**options):
        modules = build_model("reference", grid(300), 4, **options).modules()
        kinds = (torch.nn.Dropout, torch.nn.Dropout2d)
        return [module.p for module in modules if isinstance(module, kinds)]

    assert rates() == [0.5] * 5
    assert rates(dropout=0.2) == [0.2] * 5


@pytest.mark.parametrize("name", NAMES_OF_OURS)
def test_a_prediction_does_not_depend_on_the_other_rows(name):
    torch.manual_seed(0)
    model = build_model(name, grid(300), 4).double()
    pairs = torch.rand(5, 2, 300, dtype=torch.double)
    model.fit_inputs(pairs)
    torch.testing.assert_close(model(pairs)[:1], model(pairs[:1]))


def test_a_residual_block_convolves_along_r_as_conv1d_does():
    """Against the same weights in Conv1d, where the width doubles and where it stays."""
    torch.manual_seed(0)
    x = torch.randn(2, 6, 37)
    for block in (ResidualBlock(6, 6), ResidualBlock(6, 12)):
        torch.nn.init.normal_(block.main[3].weight)
        first, last = block.main[1], block.main[3]
        hidden = F.conv1d(x.relu(), first.weight[:, :, 0], first.bias, first.stride[1], padding=1)
        expected = F.conv1d(hidden.relu(), last.weight[:, :, 0], last.bias, padding=1)
        if first.stride[1] == 2:
            shortcut = block.shortcut
            expected += F.conv1d(x, shortcut.weight[:, :, 0], shortcut.bias, 2)
        else:
            expected += x
        torch.testing.assert_close(block(as_images(x))[:, :, 0], expected)


@pytest.mark.parametrize("name", NAMES_OF_OURS)
def test_inputs_are_standardised_by_what_the_model_stores(name):
    model = build_model(name, grid(300), 4)
    pairs = torch.rand(200, 2, 300, generator=torch.Generator().manual_seed(0))
    model.fit_inputs(pairs)
    curves, scalars = model.features(pairs)
    assert abs(curves.mean()) < 1e-3
    assert 0.9 < curves.std() < 1.0
    torch.testing.assert_close(scalars.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(scalars.std(0), torch.ones(4), atol=0.03, rtol=0)
    copy = build_model(name, grid(300), 4)
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy(pairs), model(pairs))


@pytest.mark.parametrize("space", ["real", "reciprocal"])
def test_growth_is_the_change_of_the_amplitude_of_the_host(space):
    host = torch.sin(torch.linspace(0, 40, 300)) / 2 + 0.5
    pairs = torch.stack([host, host - 0.02 * (host - host.mean())]).repeat(3, 1, 1)
    curves, scalars = PairFeatures(grid(300), space).measure(pairs)
    torch.testing.assert_close(scalars[:, 1], torch.full((3,), -0.02), atol=1e-5, rtol=0)
    size = scalars[:, :1].exp()
    strongest = curves[0, 0].abs().argmax()
    for local in (curves[:, 3, strongest], curves[:, 4, strongest]):
        torch.testing.assert_close(local * size[:, 0], torch.full((3,), -0.02), atol=1e-4, rtol=0)


def test_the_sine_transform_finds_where_a_wave_is_and_keeps_its_size():
    """On a grid as the store's, rounded to 0.01 A, at all Q but next to the ends."""
    r = torch.linspace(1.5, 29.99, 300).mul(100).round().div(100).double()
    transform = sine_transform(r.tolist())
    order = math.ceil(0.5 * float(r[-1]) / math.pi) + torch.arange(len(transform))
    q = order * math.pi / r[-1]
    assert 0.5 <= q[0] < q[-1] <= 25.0
    taper = torch.cos(math.pi / 2 * r / r[-1])
    for k in range(10, len(q) - 10, 20):
        found = transform @ (torch.sin(q[k] * r) / taper.clamp(0.3))
        assert found.abs().argmax() == k
        assert 0.9 < found.norm() / torch.sin(q[k] * r).norm() < 1.1


@pytest.mark.parametrize("name", NAMES_OF_OURS)
def test_features_are_in_float32_where_products_are_in_bfloat16(name):
    model = build_model(name, grid(300), 4)
    pairs = torch.rand(5, 2, 300, generator=torch.Generator().manual_seed(0))
    expected, _ = model.features(pairs)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = model.features(pairs)
    assert torch.equal(found, expected)


def test_bragg_intensities_change_by_the_factors_of_the_interstitials():
    """Two families of reflections, with and against the phase of the interstitials."""
    r = torch.linspace(0.1, 30.0, 300).double()
    bragg = torch.tensor([2.0, 2.5, 3.3, 4.1, 5.2, 6.0, 7.1, 8.3]).double()
    x, z = 0.05, 1.2
    phase = torch.tensor([1.0, -1.0]).repeat(4).double()
    factor = (1 + x * z * phase) ** 2 * (1 + x) / (1 + x * z) ** 2
    host = torch.sin(bragg[:, None] * r).sum(0)
    defective = (factor[:, None] * torch.sin(bragg[:, None] * r)).sum(0)
    features = PairFeatures(r.tolist(), "reciprocal").double()
    curves, scalars = features.measure(torch.stack([host, defective])[None])
    at = (bragg * 30.0 / math.pi).round().long() - math.ceil(0.5 * 30.0 / math.pi)
    growth = curves[0, 3, at] * scalars[0, 0].exp()
    torch.testing.assert_close(growth, factor - 1, atol=0.01, rtol=0)


def test_reference_recipe_is_the_published_schedule():
    recipe = RECIPES["reference"]
    published = ("reference", "trace", 500, 32, 1e-4, "plateau", 0.0)
    assert published == (
        recipe.model,
        recipe.scaling,
        recipe.epochs,
        recipe.batch_size,
        recipe.learning_rate,
        recipe.schedule,
        recipe.weight_decay,
    )
