from __future__ import annotations

import pytest
import torch

from train.models import MODELS, build_model
from train.recipes import RECIPES, make_recipe


def test_reference_network_has_the_published_size():
    model = build_model("reference", 300, 4)
    assert sum(p.numel() for p in model.parameters()) == 3_611_972
    assert model.head[1].in_features == 4736


@pytest.mark.parametrize("name", MODELS)
def test_output_has_a_logit_for_each_class_and_gradients_reach_all_weights(name):
    torch.manual_seed(0)
    model = build_model(name, 300, 4)
    output = model(torch.rand(3, 2, 300))
    assert output.shape == (3, 4 + model.regression_outputs)
    output.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_inputs_are_standardised_by_what_the_model_stores():
    model = build_model("residual", 300, 4)
    pairs = torch.rand(200, 2, 300, generator=torch.Generator().manual_seed(0))
    model.fit_inputs(pairs)
    curves, scalars = model.features(pairs)
    standard = (curves - model.mean) / model.deviation
    assert abs(standard.mean()) < 1e-3
    assert 0.9 < standard.std() < 1.0
    torch.testing.assert_close(scalars.mean(0), model.scalar_mean)
    assert {"mean", "deviation", "scalar_mean", "scalar_deviation"} <= set(model.state_dict())


def test_growth_is_the_change_of_the_amplitude_of_the_host():
    host = torch.sin(torch.linspace(0, 40, 300)) / 2 + 0.5
    pairs = torch.stack([host, host - 0.02 * (host - host.mean())]).repeat(3, 1, 1)
    curves, scalars = build_model("residual", 300, 4).features(pairs)
    torch.testing.assert_close(scalars[:, 1], torch.full((3,), -0.02), atol=1e-5, rtol=0)
    size = (pairs[0, 1] - pairs[0, 0]).norm() + 1e-4
    torch.testing.assert_close(curves[:, 3] * size, torch.full((3, 300), -0.02), atol=3e-4, rtol=0)


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


def test_options_change_a_recipe_and_nonsense_is_one_line():
    assert make_recipe("default", scaling="trace", epochs=3).scaling == "trace"
    with pytest.raises(ValueError, match="'best' is not one of reference, default"):
        make_recipe("best")
    with pytest.raises(ValueError, match="epochs: Input should be greater than 0"):
        make_recipe("default", epochs=0)
