"""Named sets of training choices. A recipe is all of a run's configuration but split and seed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from train.problems.defects.fresh_draws import Variation
from train.problems.defects.inputs import ABSORBABLE, Absorbed, Scaling


class Recipe(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    model: Literal["reciprocal", "residual", "reference"]
    scaling: Scaling
    epochs: PositiveInt
    batch_size: PositiveInt = Field(description="rows in a global batch, over all processes")
    learning_rate: PositiveFloat
    schedule: Literal["onecycle", "plateau"]
    weight_decay: float = Field(default=0.0, ge=0)
    gradient_norm: float = Field(default=0.0, ge=0, description="clipped to; 0 for no clipping")
    regression_weight: float = Field(
        default=0.0, ge=0, description="of also fitting concentration and atomic-number ratio"
    )
    stretch: float = Field(
        default=0.0, ge=0, lt=0.5, description="largest random relative stretch of r in training"
    )
    average_decay: float = Field(
        default=0.0, ge=0, lt=1, description="of the running average of the weights; 0 for none"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="in the network")
    patience: int = Field(
        default=0, ge=0, description="epochs without a better one to stop after; 0 for never"
    )
    accumulation: PositiveInt = Field(
        default=1, description="parts of a process's share of a batch, for less memory"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="of products in the network; the rest is in float32. On "
        "NVIDIA GPUs float32 means TF32 in convolutions, which is torch's own default",
    )
    deterministic: bool = Field(default=False, description="the same bits each time")
    cuda_graphs: bool = Field(
        default=False,
        description="a step as one CUDA graph, where one process has a GPU; it has not been run on "
        "a GPU yet",
    )
    pristine: bool = Field(default=False, description="no defect at all is a class, too")
    absorbed: tuple[Absorbed, ...] = Field(
        default=(), description="what a refinement of the host has taken up of the change"
    )
    draws: Literal["store", "streaming"] = Field(
        default="store", description="train on the store's variants, or on fresh ones each epoch"
    )
    variation: Variation = Field(
        default=Variation(), description="of hosts and instrument, where draws are streaming"
    )

    @model_validator(mode="after")
    def _varies_what_is_drawn(self) -> Recipe:
        if self.draws == "store" and self.variation != Variation():
            raise ValueError("variation needs --draws streaming: the store's PDFs are as they are")
        return self


# docs/training.md says what was tried. 40 epochs take less than four minutes on two cores.
_DEFAULT = Recipe(
    name="default",
    model="reciprocal",
    scaling="shared",
    epochs=40,
    batch_size=64,
    learning_rate=3e-3,
    schedule="onecycle",
    weight_decay=0.05,
    gradient_norm=1.0,
    regression_weight=1.0,
    stretch=0.08,
    average_decay=0.998,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        # The reference study's choices; its normalisation is in the model.
        Recipe(
            name="reference",
            model="reference",
            scaling="trace",
            epochs=500,
            batch_size=32,
            learning_rate=1e-4,
            schedule="plateau",
            dropout=0.5,
        ),
        _DEFAULT,
        # For measured PDFs of any instrument, against a host that was refined: docs/measured.md.
        _DEFAULT.model_copy(
            update={
                "name": "measured",
                "pristine": True,
                "absorbed": ABSORBABLE,
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
    )
}


def make_recipe(name: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A named recipe with other choices in place of its own.

    Args:
        changes: by the recipe's keys; those of `variation` as `variation.strain`.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r} is not one of {', '.join(RECIPES)}")
    content = RECIPES[name].model_dump()
    for key, value in (changes or {}).items():
        place, _, inner = key.partition(".")
        _refuse_unknown(key)
        if inner:
            content[place][inner] = value
        else:
            content[place] = value
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "choices"
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"recipe {name}, {place}: {message}") from error


def parse_setting(text: str) -> tuple[str, Any]:
    """Key and value of `key=value`; the value is JSON, or else the text itself."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text}: give it as key=value")
    try:
        return key.strip(), json.loads(value)
    except json.JSONDecodeError:
        return key.strip(), value.strip()


def _refuse_unknown(key: str) -> None:
    fields = [field for field in Recipe.model_fields if field not in ("name", "variation")]
    keys = [*fields, *(f"variation.{field}" for field in Variation.model_fields)]
    if key not in keys:
        near = difflib.get_close_matches(key, keys, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(keys)}"
        raise ValueError(f"recipes have no {key!r}: {hint}")
