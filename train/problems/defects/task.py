"""What is learned of defects: from a pair of traces to the class and the sizes of these."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from train.data.examples import Examples
from train.data.leakage import Split
from train.data.sources import Sources, StoreSource
from train.data.store import Dataset
from train.judging.calibration import Calibration, fit_calibration
from train.judging.evaluation import Predicted
from train.judging.familiarity import View
from train.models import Layout, Model, build_model
from train.problems import Problem
from train.problems.defects.augmentation import stretch_pairs
from train.problems.defects.examples import (
    PRISTINE,
    DefectExamples,
    classes_of,
    read_examples,
)
from train.problems.defects.fresh_draws import Variation
from train.problems.defects.inputs import PairInput
from train.problems.defects.objective import DefectObjective
from train.problems.defects.recipes import RECIPES, DefectRecipe
from train.problems.defects.sites import require_sites
from train.problems.defects.sources import DRAWN_AT_ONCE, ErringSource, FreshSource
from train.problems.defects.trace import Trace
from train.setup.distributed import World

_SUITING_PDFS = {"model": "reciprocal", "stretch": 0.08, "absorbed": ("cell", "uiso")}
_SUITING_ANY_TRACE = {"model": "residual", "stretch": 0.0, "absorbed": ()}


class DefectTask(Problem):
    """A pair of traces in, the class of the defects out, and how many and how heavy they are."""

    recipes: ClassVar[Mapping[str, DefectRecipe]] = RECIPES
    title: ClassVar[str] = "Point defects from PDFs"

    name: Literal["defects"] = "defects"
    recipe: DefectRecipe
    classes: tuple[str, ...] = Field(min_length=2)
    trace: Trace
    points: tuple[float, ...] = Field(repr=False, min_length=2)
    """Along the trace: of G(r), r in A."""

    @field_validator("points")
    @classmethod
    def _rise(cls, points: tuple[float, ...]) -> tuple[float, ...]:
        if not (np.isfinite(points).all() and (np.diff(points) > 0).all()):
            raise ValueError("must be finite and rise from each to the next")
        return points

    @classmethod
    def of(cls, data: Dataset, recipe: DefectRecipe) -> Self:
        trace = Trace.of(data, recipe.observable)
        if not trace.is_pdf:
            _require_any_trace(data, trace, recipe)
        if recipe.draws == "streaming":
            require_sites(data.path, data.description)
        suiting = _SUITING_PDFS if trace.is_pdf else _SUITING_ANY_TRACE
        open_choices = {key: of for key, of in suiting.items() if getattr(recipe, key) is None}
        return cls(
            recipe=recipe.model_copy(update=open_choices),
            classes=classes_of(data, recipe.pristine),
            trace=trace,
            points=tuple(data.column(trace.axis).tolist()),
        )

    def examples(self, data: Dataset) -> DefectExamples:
        if not np.array_equal(data.column(self.trace.axis), self.points):
            raise ValueError(
                f"{data.path} has other points of {self.trace.axis} than the store that was "
                "trained on"
            )
        return read_examples(data, self.trace, PRISTINE in self.classes, self.recipe.absorbed)

    def split(self, examples: Examples, split: str, seed: int) -> Split:
        """ValueError also if all rows are of one class."""
        target = examples.targets["class"]
        if len(np.unique(target)) < 2:
            raise ValueError(
                f"{examples.path} has {examples.title} of {self.classes[target[0]]} only, from "
                "which there is nothing to tell apart: generate more kinds, or train with --set "
                "pristine=true"
            )
        return super().split(examples, split, seed)

    @property
    def most_at_once(self) -> int | None:
        return DRAWN_AT_ONCE if self.recipe.draws == "streaming" else None

    def sources(self, examples: Examples, seed: int, world: World) -> Sources:
        """Of validation rows the store's, unless what training varies has to vary there, too."""
        stored = super().sources(examples, seed, world).stored
        if self.recipe.draws == "store":
            return Sources(stored, stored, stored)
        errors, variation = self.recipe.errors, self.recipe.variation

        def drawn() -> FreshSource:
            of_hosts = cast(DefectExamples, examples)
            return FreshSource(of_hosts, self.inputs(), errors, variation, seed, world.device)

        return Sources(stored, drawn(), drawn() if variation != Variation() else stored)

    def stored(
        self, examples: Examples, seed: int, device: torch.device, resident: bool = False
    ) -> StoreSource:
        errors, of_hosts = self.recipe.errors, cast(DefectExamples, examples)
        return ErringSource(of_hosts, self.inputs(), errors, seed, device, resident)

    def inputs(self) -> PairInput:
        return PairInput(self.recipe.scaling, self.recipe.absorbed or (), self.points)

    def model(self) -> Model:
        name = self.recipe.model or _SUITING_ANY_TRACE["model"]
        return build_model(str(name), self.points, len(self.classes), dropout=self.recipe.dropout)

    def layout(self, model: torch.nn.Module) -> Layout:
        return Layout(classes=len(self.classes), regressions=cast(Model, model).regressions)

    def augment(self, inputs: Tensor, random: Tensor) -> Tensor:
        if not self.recipe.stretch:
            return inputs
        return stretch_pairs(inputs, (1 + self.recipe.stretch * random).float(), self._start)

    def novelty(
        self, examples: Examples, rows: np.ndarray, training: np.ndarray
    ) -> dict[str, Any] | None:
        from train.problems.defects.novelty import novelty_of

        if not self.recipe.stretch:
            return None
        of_hosts = cast(DefectExamples, examples)
        return novelty_of(of_hosts, rows, training, self.recipe.stretch, self._start)

    @cached_property
    def _start(self) -> float:
        """The first point in steps of the grid."""
        return float(self.points[0] / np.diff(self.points).mean())

    def objective(
        self, examples: Examples, rows: np.ndarray, layout: Layout, device: torch.device
    ) -> DefectObjective:
        target = examples.targets["class"][rows]
        return DefectObjective(target, layout, self.recipe.regression_weight, device)

    def merit(self, record: Mapping[str, float]) -> tuple[float, ...]:
        """Accuracy, at equal accuracy the loss."""
        return record["val_accuracy"], -record["val_loss"]

    def judge(self, found: Predicted) -> dict[str, Any]:
        """Of the classes, and of the estimates where the network makes them."""
        from train.problems.defects.scores import score, score_estimates

        scores = score(found.outputs.logits, found.targets["class"], self.classes)
        return scores | score_estimates(found, self.classes)

    def calibrate(self, found: Predicted) -> Calibration:
        """At the prevalence of the classes, of which training takes no notice."""
        from train.problems.defects.scores import log_prevalence

        return fit_calibration(found, log_prevalence(found.targets["class"], len(self.classes)))

    def views(self, model: torch.nn.Module) -> dict[str, View]:
        from train.problems.defects.strangeness import pdf_views, trace_views

        of_pairs = pdf_views if self.trace.is_pdf else trace_views
        return of_pairs(self.points) | super().views(model)

    def require_pdf(self, what: str) -> None:
        """ValueError if something of G(r) alone is asked for and the trace is another."""
        if not self.trace.is_pdf:
            raise ValueError(
                f"there is no {what} for {self.trace.array}: it takes G(r), the array g"
            )


def _require_any_trace(data: Dataset, trace: Trace, recipe: DefectRecipe) -> None:
    """ValueError if a recipe asks for what is known of G(r) alone."""
    asked = {
        "absorbed": bool(recipe.absorbed),
        "draws": recipe.draws == "streaming",
        "model": recipe.model == "reciprocal",
    }
    for key, is_asked in asked.items():
        if is_asked:
            raise ValueError(
                f"{data.path} has the trace {trace.array}, and recipe {recipe.name}'s {key} takes "
                "G(r): take the default recipe without it"
            )
