"""Two toy problems: numbers of atoms and labels from images, and the images from themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.data.examples import Examples, Grouping, Reading, fingerprint_of
from train.data.sources import Batch
from train.data.store import Dataset
from train.judging.evaluation import Predicted
from train.judging.scores import score_errors, score_labels
from train.models import Layout, Outputs
from train.problems import Problem, Term
from train.setup.recipes import Recipe

LABELS = ("crowded", "shaken")


class ToyRecipe(Recipe):
    problem: ClassVar[str] = "toy"

    width: int = 16


class CopyRecipe(Recipe):
    problem: ClassVar[str] = "toy_copy"


def default(kind: type[Recipe]) -> dict[str, Any]:
    return {
        "default": kind(
            name="default", epochs=2, batch_size=16, learning_rate=0.01, average_decay=0.9
        )
    }


class AddChannel(nn.Module):
    """(n, 1, Y, X) of images (n, Y, X)."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, None]


class Network(nn.Module):
    """A hidden layer between two that know the sizes."""

    def __init__(self, inputs: int, width: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU())
        self.last = nn.Linear(width, int(np.prod(shape)))
        self.shape = shape

    def fit_inputs(self, inputs: Tensor) -> None:
        """Images are bright enough as they are."""

    def represent(self, inputs: Tensor) -> Tensor:
        return self.hidden(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.represent(inputs)).reshape(-1, *self.shape)


def image_examples(data: Dataset, targets: Mapping[str, np.ndarray]) -> Examples:
    """All variants of all boxes that were computed; targets are (S, V, ...)."""
    present = data.column("count") >= 0
    rows = np.argwhere(present)
    at = tuple(rows.T)
    return Examples(
        data=data,
        rows=rows,
        inputs=(Reading("image"),),
        targets={name: values[at] for name, values in targets.items()},
        splits={"box": Grouping.by(data.id[rows[:, 0]], "boxes stay whole")},
        fingerprint=fingerprint_of(data.id, present),
        present=present,
        described=data.id.item,
        title="images",
    )


class ImageProblem(Problem):
    shape: tuple[int, int]

    @classmethod
    def of(cls, data: Dataset, recipe: Any) -> Self:
        return cls(recipe=recipe, shape=data.array("image").shape[2:])

    def inputs(self) -> nn.Module:
        return AddChannel()

    @property
    def pixels(self) -> int:
        return self.shape[0] * self.shape[1]


class Toy(ImageProblem):
    """How many atoms there are, and two things that may be so at once."""

    recipes: ClassVar[Mapping[str, Recipe]] = default(ToyRecipe)
    title: ClassVar[str] = "Boxes"

    name: Literal["toy"] = "toy"
    recipe: ToyRecipe

    def examples(self, data: Dataset) -> Examples:
        count, moved = data.column("count"), data.column("moved")
        labels = np.stack([count > 3, moved > 0.1], axis=-1).astype(np.float32)
        number = count[..., None].astype(np.float32)
        return image_examples(data, {"labels": labels, "regression": number})

    def model(self) -> Network:
        return Network(self.pixels, self.recipe.width, (len(LABELS) + 2,))

    def layout(self, model: nn.Module) -> Layout:
        return Layout(labels=len(LABELS), regressions=1)

    def objective(
        self, examples: Examples, rows: np.ndarray, layout: Layout, device: torch.device
    ) -> ToyObjective:
        return ToyObjective(layout)

    def augment(self, inputs: Tensor, random: Tensor) -> Tensor:
        """Every second image is seen in a mirror."""
        return torch.where((random > 0)[:, None, None, None], inputs.flip(-1), inputs)

    def judge(self, found: Predicted) -> dict[str, Any]:
        outputs, targets = found
        error = (outputs.mean - targets["regression"])[:, 0].numpy()
        truth = targets["labels"].numpy().astype(int)
        return {
            "n": len(error),
            "count": score_errors(error, outputs.log_deviation.exp()[:, 0].numpy()),
            "labels": score_labels(outputs.labels.sigmoid().numpy(), truth, LABELS),
        }


class ToyObjective:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def weights(self, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {}

    def losses(self, outputs: Tensor, batch: Batch, weights: Mapping[str, Tensor]) -> list[Term]:
        return [Term(term, weights["rows"]) for term in self._sums(outputs, batch.targets)]

    def validate(self, found: Predicted) -> dict[str, float]:
        columns = torch.cat(found.outputs, dim=1)
        loss = sum(self._sums(columns, found.targets)) / len(columns)
        return {"val_loss": float(loss)}

    def _sums(self, columns: Tensor, targets: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        found = Outputs.of(columns, self._layout)
        of_labels = F.binary_cross_entropy_with_logits(
            found.labels, targets["labels"], reduction="sum"
        )
        variance = (2 * found.log_deviation).exp()
        truth = targets["regression"]
        return of_labels, F.gaussian_nll_loss(found.mean, truth, variance, reduction="sum")


class ToyCopy(ImageProblem):
    """The image again, through a narrow place: the target is the input."""

    recipes: ClassVar[Mapping[str, Recipe]] = default(CopyRecipe)
    title: ClassVar[str] = "Copies of boxes"

    name: Literal["toy_copy"] = "toy_copy"
    recipe: CopyRecipe

    def examples(self, data: Dataset) -> Examples:
        return image_examples(data, {})

    def model(self) -> Network:
        return Network(self.pixels, 6, (1, *self.shape))

    def layout(self, model: nn.Module) -> Layout:
        return Layout(others=1)

    def objective(
        self, examples: Examples, rows: np.ndarray, layout: Layout, device: torch.device
    ) -> CopyObjective:
        return CopyObjective()

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The mean square error of each image."""
        return (outputs - batch.inputs).square().flatten(1).mean(1, keepdim=True)

    def judge(self, found: Predicted) -> dict[str, Any]:
        errors = found.outputs.others
        return {"n": len(errors), "error": float(errors.mean())}


class CopyObjective:
    def weights(self, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {}

    def losses(self, outputs: Tensor, batch: Batch, weights: Mapping[str, Tensor]) -> list[Term]:
        error = (outputs - batch.inputs).square().flatten(1).mean(1).sum()
        return [Term(error, weights["rows"])]

    def validate(self, found: Predicted) -> dict[str, float]:
        return {"val_loss": float(found.outputs.others.mean())}
