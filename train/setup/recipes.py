"""Named sets of training choices. A recipe is all of a run's configuration but split and seed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError


class Recipe(BaseModel):
    """What any problem lets one choose; a problem's own recipe adds to it."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    problem: ClassVar[str]
    """Name of the problem that it is a recipe of."""

    name: str
    model: str | None = Field(default=None, description="network; None for what suits the input")
    epochs: PositiveInt
    batch_size: PositiveInt = Field(description="rows in a global batch, over all processes")
    learning_rate: PositiveFloat
    schedule: Literal["onecycle", "plateau"] = "onecycle"
    weight_decay: float = Field(default=0.0, ge=0)
    gradient_norm: float = Field(default=0.0, ge=0, description="clipped to; 0 for no clipping")
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
        description="a step as one CUDA graph, where one process has a GPU",
    )


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def make_recipe(
    recipes: Mapping[str, AnyRecipe], name: str, changes: Mapping[str, Any] | None = None
) -> AnyRecipe:
    """A named recipe with other choices in place of its own.

    Args:
        recipes: of a problem, by name.
        changes: by the recipe's keys; those of a choice with parts as `variation.strain`.

    Raises:
        ValueError: there is no such recipe or key, or a value is impossible.
    """
    if name not in recipes:
        raise ValueError(f"recipe {name!r} is not one of {', '.join(recipes)}")
    recipe = recipes[name]
    content = recipe.model_dump()
    keys = list(_keys(type(recipe)))
    for key, value in (changes or {}).items():
        _refuse_unknown(key, keys)
        place, _, inner = key.partition(".")
        if inner:
            content[place][inner] = value
        else:
            content[place] = value
    try:
        return type(recipe).model_validate(content)
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
    except ValueError:
        return key.strip(), value.strip()
    except RecursionError:
        raise ValueError(f"--set {key.strip()}: its value is nested too deeply") from None


def _keys(recipe: type[Recipe]) -> Iterator[str]:
    """What can be chosen, in place of a choice with parts these parts."""
    for name, field in recipe.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from (f"{name}.{part}" for part in kind.model_fields)
        elif name != "name":
            yield name


def _refuse_unknown(key: str, keys: list[str]) -> None:
    if key not in keys:
        near = difflib.get_close_matches(key, keys, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(keys)}"
        raise ValueError(f"recipes have no {key!r}: {hint}")
