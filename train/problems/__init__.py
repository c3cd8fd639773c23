"""What can be learned from a store: one package here a problem, found by its name.

A problem knows what a row of the store is, what is to be said of it, how wrong an answer is and how
a reader wants to be told. The trainer, the order of rows, splits, snapshots, processes,
calibration, strangeness and the frame of reports know tensors and `Problem` alone.

A new problem is a package NAME here, or a module of another package that is named by an entry
point in the group `defectpdf.problems`, with

- a `Recipe` (`train.setup.recipes`) whose `problem` is NAME, and some named ones;
- a `Problem`, its `name` being `Literal["NAME"]`, that is called PLUG_IN (or what the entry point
  names), with the methods below that have no body here. All others have defaults that suit a
  problem without classes.

`defectpdf train STORE --out RUN --problem NAME` makes one by `Problem.of`, keeps all its fields in
RUN/config.json, and makes it again from these; so they are all that it knows of the store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, Protocol, Self

from pydantic import BaseModel, ConfigDict, SerializeAsAny

from defectgen.plugins import find_plug_in
from train.setup.recipes import Recipe

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from train.data.examples import Examples
    from train.data.leakage import Split
    from train.data.sources import Batch, Sources, StoreSource
    from train.data.store import Dataset
    from train.judging.calibration import Calibration
    from train.judging.evaluation import Judged, Predicted
    from train.judging.familiarity import View
    from train.models import Layout
    from train.setup.distributed import World


class Term(NamedTuple):
    """A term of a loss: a sum over this process's rows, over a weight of the whole batch."""

    sum: Tensor  # ()
    weight: Tensor  # () the same on every process
    is_shown: bool = True
    """Whether it is part of `train_loss` in the learning curve."""


class Objective(Protocol):
    """What is minimised, with all that it takes from the training rows; made once for a fit."""

    def weights(self, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `losses` will divide its sums by, from the targets of global batches.

        A process has but a share of a batch's rows; this is where it learns of the others.

        Args:
            targets: (k, B, ...) of k batches of B rows, by name.

        Returns:
            By names of its own, (k,); `rows`, how many rows a batch has, is added to them.
        """
        ...

    def losses(self, outputs: Tensor, batch: Batch, weights: Mapping[str, Tensor]) -> list[Term]:
        """The terms of the loss; these, divided by their weights, are added up.

        Args:
            outputs: (b, ...) float32 of the network for the batch's b rows.
            weights: () each, as `weights` has them.
        """
        ...

    def validate(self, found: Predicted) -> dict[str, float]:
        """`val_loss` and other scores of the validation part, for the learning curve."""
        ...


class Section(NamedTuple):
    """Of a report; the content is HTML, as `train.report.html` makes it."""

    title: str
    content: str


class Problem(BaseModel, ABC):
    """What is learned from a store.

    The fields are all that is known when a run is read again without its store.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipes: ClassVar[Mapping[str, Recipe]]
    """By name; `default` is among them."""
    title: ClassVar[str]
    """As in "Point defects from PDFs"."""

    name: str
    recipe: SerializeAsAny[Recipe]

    @classmethod
    @abstractmethod
    def of(cls, data: Dataset, recipe: Any) -> Self:
        """The problem that a store poses under one of `recipes`, or a changed one.

        Raises:
            ValueError: the store has not what it takes, or the recipe does not suit it.
        """

    @abstractmethod
    def examples(self, data: Dataset) -> Examples:
        """The rows of a store and their targets.

        Raises:
            ValueError: it is of another kind than the store that the problem was made for.
        """

    def split(self, examples: Examples, split: str, seed: int) -> Split:
        """Parts of the rows to train on and to be judged by.

        Raises:
            ValueError: as of `train.data.leakage.make_split`.
        """
        from train.data.leakage import make_split

        return make_split(examples, split, seed)

    @property
    def most_at_once(self) -> int | None:
        """Structures to prepare samples of at once at the most, whatever the memory."""
        return None

    def sources(self, examples: Examples, seed: int, world: World) -> Sources:
        """Where samples come from: the store, if not told otherwise."""
        from train.data.sources import Sources, fits_in_memory

        kept = fits_in_memory(examples, world)
        stored = self.stored(examples, seed, world.device, kept)
        return Sources(stored, stored, stored)

    def stored(
        self, examples: Examples, seed: int, device: torch.device, resident: bool = False
    ) -> StoreSource:
        """The samples of a store, and all that a network is to be judged by.

        Args:
            seed: of what is random in them.
            resident: keep the store's arrays on the device.
        """
        from train.data.sources import StoreSource

        return StoreSource(examples, self.inputs(), device, resident)

    @abstractmethod
    def inputs(self) -> nn.Module:
        """From arrays (n, ...), those of `Examples.inputs`, to a network's input (n, ...)."""

    @abstractmethod
    def model(self) -> nn.Module:
        """A new network, as `train.models` describes networks, from inputs to (B, ...)."""

    @abstractmethod
    def layout(self, model: nn.Module) -> Layout:
        """Of the columns of `answers`."""

    def augment(self, inputs: Tensor, random: Tensor) -> Tensor:
        """What a training step is given in place of inputs (b, ...).

        Args:
            random: (b,) float64 in -1..1, drawn for each row from seed and epoch.
        """
        return inputs

    @abstractmethod
    def objective(
        self, examples: Examples, rows: np.ndarray, layout: Layout, device: torch.device
    ) -> Objective:
        """Of a fit of outputs of a layout to training rows (n,), positions in `examples.rows`."""

    def merit(self, record: Mapping[str, float]) -> tuple[float, ...]:
        """By which epochs are compared, from a record of the learning curve; the highest wins."""
        return (-record["val_loss"],)

    def answers(self, outputs: Tensor, batch: Batch) -> Tensor:
        """(b, k) what is kept of outputs (b, ...) to judge by; of large ones their errors alone."""
        return outputs

    @abstractmethod
    def judge(self, found: Predicted) -> dict[str, Any]:
        """Scores of calibrated answers to some rows, for JSON; `n` rows among them."""

    def calibrate(self, found: Predicted) -> Calibration:
        """Factors for logits and deviations, from answers to the validation part."""
        from train.judging.calibration import fit_calibration

        return fit_calibration(found)

    def views(self, model: nn.Module) -> dict[str, View]:
        """What rows are compared by, to tell strangers; by name."""
        from train.judging.familiarity import features_of

        return {"features": features_of(model)}

    def summary(self, scores: Mapping[str, Any]) -> str:
        """The scores in a few words."""
        numbers = (f"{name} {value:.4f}" for name, value in scores.items() if _is_number(value))
        return ", ".join(numbers) + f" on {scores['n']} rows"

    def print_scores(self, scores: dict[str, Any], title: str) -> None:
        """The scores for a terminal."""
        from train.report.terminal import print_numbers

        print_numbers(scores, title)

    def cards(self, scores: Mapping[str, Any]) -> dict[str, str]:
        """What a report begins with, by name."""
        return {name: f"{value:.4g}" for name, value in scores.items() if _is_number(value)}

    def sections(self, found: Judged, scores: dict[str, Any]) -> Iterator[Section]:
        """Of a run's report, between its head and its learning curve; of the test part."""
        from train.report.html import preformatted

        yield Section("Scores of the test part", preformatted(scores))

    def caveats(self) -> tuple[str, ...]:
        """What scores do not say."""
        return ()

    def store_report(self, data: Dataset) -> tuple[str, list[Section]]:
        """Title and sections of the report of a store.

        Raises:
            ValueError: there is none.
        """
        self._lacks("report of a store")

    def baselines(self, data: Dataset, split: str | None, seed: int) -> dict[str, Any]:
        """Scores of other methods on the same split; ValueError if there are none."""
        self._lacks("baselines")

    def print_baselines(self, found: dict[str, Any]) -> None:
        """For a terminal."""
        self._lacks("baselines")

    def fits(self, found: Judged) -> dict[str, Any]:
        """Scores of fits without a network; ValueError if there are none."""
        self._lacks("fits")

    def novelty(
        self, examples: Examples, rows: np.ndarray, training: np.ndarray
    ) -> dict[str, Any] | None:
        """How near training structures are to those of rows (n,) after all that training does to
        them, for JSON; None if that is not known."""
        return None

    def explain(self, run: Path, store: Path, part: str, along: str) -> Explanation:
        """What a run's network looks at; ValueError if that is not known."""
        self._lacks("explanation")

    def robustness(self, run: Path, store: Path, part: str) -> Robustness:
        """Scores under other conditions than the store's; ValueError if there are none."""
        self._lacks("measure of robustness")

    def program(self, model: nn.Module, calibration: Calibration) -> Program:
        """A trained model for use elsewhere; ValueError if there is none."""
        self._lacks("form for export")

    def _lacks(self, what: str) -> NoReturn:
        raise ValueError(f"the problem {self.name!r} has no {what}")


class Explanation(Protocol):
    """What is found by `Problem.explain`."""

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        ...

    def figure(self) -> Any: ...

    def print(self, title: str) -> None: ...


class Robustness(Protocol):
    """What is found by `Problem.robustness`."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        ...

    def figure(self) -> Any: ...

    def print(self) -> None: ...


class Program(NamedTuple):
    """A model for torch alone, and what is to be told of it."""

    module: nn.Module
    """From arrays (n, ...) as a store has them to answers (n, ...), all in one."""
    example: tuple[Tensor, ...]
    """Two rows of its input."""
    card: dict[str, Any]
    """`description`, `architecture`, `input`, `output` and what else a user has to know."""


def find_problem(name: str) -> type[Problem]:
    """The problem of this name; ValueError if there is none."""
    return find_plug_in("train.problems", name)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
