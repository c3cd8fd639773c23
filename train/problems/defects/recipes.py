"""Recipes of the defects problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from train.problems.defects.errors import Errors
from train.problems.defects.fresh_draws import Variation
from train.problems.defects.inputs import ABSORBABLE, Absorbed, Scaling
from train.setup import recipes
from train.setup.recipes import Recipe


class DefectRecipe(Recipe):
    """Choices of a run that tells kinds of defects apart."""

    problem: ClassVar[str] = "defects"

    model: Literal["reciprocal", "residual", "reference"] | None = Field(
        default=None, description="network; None: reciprocal for G(r), residual for other traces"
    )
    observable: str | None = Field(
        default=None, description="array of the store to read; None: g, or else the only trace"
    )
    scaling: Scaling
    regression_weight: float = Field(
        default=0.0, ge=0, description="of also fitting concentration and atomic-number ratio"
    )
    stretch: float | None = Field(
        default=None,
        ge=0,
        lt=0.5,
        description="largest random relative stretch of the axis in training; None: 0.08 for G(r), "
        "0 for other traces",
    )
    pristine: bool = Field(default=True, description="no defect at all is a class, too")
    absorbed: tuple[Absorbed, ...] | None = Field(
        default=None,
        description="what a refinement of the host has taken up of the change; None: cell and uiso "
        "of G(r), nothing of other traces",
    )
    errors: Errors = Field(
        default=Errors(), description="of the sample's trace, in training and wherever it is judged"
    )
    draws: Literal["store", "streaming"] = Field(
        default="store", description="train on the store's variants, or on fresh ones each epoch"
    )
    variation: Variation = Field(
        default=Variation(), description="of hosts and instrument, where draws are streaming"
    )

    @model_validator(mode="after")
    def _varies_what_is_drawn(self) -> DefectRecipe:
        if self.draws == "store" and self.variation != Variation():
            raise ValueError("variation needs --draws streaming: the store's PDFs are as they are")
        return self


# docs/training.md says what was tried. 40 epochs take less than four minutes on two cores.
_DEFAULT = DefectRecipe(
    name="default",
    scaling="shared",
    epochs=40,
    batch_size=64,
    learning_rate=3e-3,
    weight_decay=0.05,
    gradient_norm=1.0,
    regression_weight=1.0,
    average_decay=0.998,
    errors=Errors(noise=(0.0, 0.02), scale=0.003),
)

_KNOWN_EXACTLY: dict[str, Any] = {"pristine": False, "absorbed": (), "errors": Errors()}

RECIPES = {
    recipe.name: recipe
    for recipe in (
        # The reference study's choices; its normalisation is in the model.
        DefectRecipe(
            name="reference",
            model="reference",
            scaling="trace",
            epochs=500,
            batch_size=32,
            learning_rate=1e-4,
            schedule="plateau",
            dropout=0.5,
            stretch=0.0,
            **_KNOWN_EXACTLY,
        ),
        _DEFAULT,
        # As the default one, of a host and an instrument known to the last digit.
        _DEFAULT.model_copy(update={"name": "ideal", **_KNOWN_EXACTLY}),
        # For measured PDFs of any instrument, against a host that was refined: docs/measured.md.
        _DEFAULT.model_copy(
            update={
                "name": "measured",
                "absorbed": ABSORBABLE,
                "errors": Errors(),
                "draws": "streaming",
                "epochs": 60,
                "variation": Variation(
                    strain=0.03,
                    uiso=0.5,
                    qmax=(14.0, 40.0),
                    qdamp=(0.0, 0.08),
                    qbroad=(0.0, 0.05),
                    rmax=(15.0, 30.0),
                    noise=0.03,
                    distortion=0.1,
                    epochs=4,
                ),
            }
        ),
        # The same of relaxed samples, measured on any instrument: of what `analyse` asks.
        _DEFAULT.model_copy(
            update={
                "name": "pretrained",
                "absorbed": (*ABSORBABLE, "peak_shape"),
                "errors": Errors(noise=(0.0, 0.06), distortion=(0.0, 0.1), rmax=(15.0, 30.0)),
                "epochs": 80,
            }
        ),
    )
}


def make_recipe(name: str, changes: Mapping[str, Any] | None = None) -> DefectRecipe:
    """One of RECIPES with other choices in place of its own, as of `train.setup.recipes`."""
    return recipes.make_recipe(RECIPES, name, changes)
