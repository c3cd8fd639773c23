"""Recipes and the choices that take the place of theirs."""

from __future__ import annotations

import pytest

from train.problems.defects.recipes import RECIPES, DefectRecipe, make_recipe
from train.setup.recipes import parse_setting


def test_choices_change_a_recipe():
    recipe = make_recipe("default", {"scaling": "trace", "epochs": 3})
    assert (recipe.scaling, recipe.epochs, recipe.model) == ("trace", 3, None)
    streaming = {"draws": "streaming", "variation.strain": 0.1}
    assert make_recipe("default", streaming).variation.strain == 0.1
    as_range = make_recipe("default", streaming | {"variation.noise": [0.02, 0.02]})
    assert as_range.variation.noise == (0.02, 0.02)
    assert DefectRecipe.model_validate_json(as_range.model_dump_json()) == as_range
    with pytest.raises(ValueError, match="'best' is not one of reference, default"):
        make_recipe("best")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "no 'epoch': did you mean epochs"),
        ({"epochs": 0}, "epochs: Input should be greater than 0"),
        ({"variation.strain": 0.1}, "variation needs --draws streaming"),
        ({"variation.strian": 0.1}, "did you mean variation.strain"),
        ({"variation": {}}, "no 'variation'"),
        ({"name": "mine"}, "no 'name'"),
        ({"draws": "streaming", "variation.qmax": [30, 20]}, "need 0 <= low <= high"),
    ],
)
def test_choices_are_checked_against_the_recipe(changes, message):
    with pytest.raises(ValueError, match=message):
        make_recipe("default", changes)


def test_settings_are_json_or_text():
    assert parse_setting("batch_size=128") == ("batch_size", 128)
    assert parse_setting("variation.qmax=[18, 25]") == ("variation.qmax", [18, 25])
    assert parse_setting("precision=bfloat16") == ("precision", "bfloat16")
    with pytest.raises(ValueError, match="--set epochs: give it as key=value"):
        parse_setting("epochs")
    with pytest.raises(ValueError, match="--set patience: its value is nested too deeply"):
        parse_setting(f"patience={'[' * 5_000}{']' * 5_000}")
    assert parse_setting(f"epochs={'9' * 5_000}") == ("epochs", "9" * 5_000)


def test_what_no_gpu_has_run_must_be_asked_for():
    assert not any(recipe.cuda_graphs for recipe in RECIPES.values())
    assert make_recipe("default", {"cuda_graphs": True}).cuda_graphs
