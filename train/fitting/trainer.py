"""Model, optimiser and schedule of one process, and the steps of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, cast

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from train.data.order import EpochOrder, Window
from train.data.sources import Sources
from train.data.store import stretch_pairs
from train.fitting.graphs import GraphedStep
from train.fitting.optimisation import RunningAverage, make_optimizer, make_scheduler
from train.judging.evaluation import predict
from train.models import Model, Outputs, build_model
from train.setup.distributed import World, sum_in_rank_order
from train.setup.recipes import Recipe

ERROR_SCALE = 0.05
"""Of regressions, below which their loss is quadratic: most errors count as they are, and those of
rows that cannot be known do not outweigh the rest."""
DEVIATION_WEIGHT = 0.01
"""Of the likelihood of the errors. Adam's steps do not depend on it; it keeps the gradient of the
deviations, which shape nothing else, from deciding how the others are clipped."""
_ROWS_TO_STANDARDISE = 4096
"""Training rows from which a network takes the standardisation of its inputs."""


class Trainer:
    """What one process trains; `state_dict` is all that a resume needs.

    Random numbers come from the seed, the epoch and, for dropout, the step and the rank, so none
    need be saved.

    Args:
        sources: of the samples of `rows["train"]` and `rows["val"]`.
        window: hosts to hold at once; None for all.
    """

    def __init__(
        self,
        recipe: Recipe,
        sources: Sources,
        rows: dict[str, np.ndarray],
        seed: int,
        window: int | None,
        world: World,
    ) -> None:
        store = sources.stored.store
        self.recipe, self.sources, self.store, self.rows = recipe, sources, store, rows
        self.seed, self.world = seed, world
        self.order = EpochOrder(store, rows["train"], recipe.batch_size, seed, window)
        if world.size * recipe.accumulation > self.order.batch_size:
            raise ValueError(
                f"{world.size} processes with accumulation = {recipe.accumulation} leave some "
                f"without a row of a batch of {self.order.batch_size}; use fewer"
            )
        self.classes = len(store.classes)
        counts = np.bincount(store.target[rows["train"]], minlength=self.classes)
        weight = counts.sum() / (self.classes * np.maximum(counts, 1))
        self.class_weight = torch.from_numpy(weight).float().to(world.device)

        torch.manual_seed(seed)
        model: Model = build_model(
            recipe.model, store.r.tolist(), self.classes, dropout=recipe.dropout
        )
        model.fit_inputs(self._pairs_to_standardise().cpu())
        self.model = model.to(world.device)
        self.parallel = self._in_parallel()
        self.average = None
        if recipe.average_decay:
            self.average = RunningAverage(self.model, recipe.average_decay)
        self.optimizer = make_optimizer(recipe, self.model)
        self.scheduler = make_scheduler(recipe, self.optimizer, self.order.batches)
        self._update: Callable[..., torch.Tensor] = self.update
        if recipe.cuda_graphs and world.device.type == "cuda" and world.size == 1:
            self._update = GraphedStep(self.update)

    def _pairs_to_standardise(self) -> torch.Tensor:
        rows = self.rows["train"]
        if len(rows) > _ROWS_TO_STANDARDISE:
            random = np.random.default_rng(self.seed)
            rows = np.sort(random.choice(rows, _ROWS_TO_STANDARDISE, replace=False))
        return self.sources.training.samples(rows).pairs

    def _in_parallel(self) -> torch.nn.Module:
        if self.world.size == 1:
            return self.model
        # Buffers are the same everywhere: norms take their statistics of the whole batch.
        parallel = DistributedDataParallel(self.model, broadcast_buffers=False)
        if self.recipe.deterministic:
            # A ring adds in an order that depends on where in a bucket a gradient lies, and buckets
            # are laid out anew after a process's first step.
            parallel.register_comm_hook(None, sum_in_rank_order)
        return parallel

    @property
    def best_model(self) -> Model:
        """The weights to evaluate: the running average where there is one."""
        return cast(Model, self.average.module) if self.average else self.model

    def steps(self, epoch: int, start: int = 0) -> Iterator[torch.Tensor]:
        """Take the epoch's steps from `start` on.

        Yields:
            After each step, this process's share of the batch's weighted mean loss.
        """
        self.parallel.train()
        done = 0
        for window in self.order.windows(epoch):
            skipped = max(0, start - done)
            done += len(window.rows)
            if done > start:
                first = done - len(window.rows) + skipped
                left = Window(window.rows[skipped:], window.random[skipped:])
                yield from self._steps_of(left, epoch, first)

    def _steps_of(self, window: Window, epoch: int, first: int) -> Iterator[torch.Tensor]:
        """Steps on this process's share of each global batch of a window."""
        rank, size, device = self.world.rank, self.world.size, self.world.device
        share = window.rows[:, rank::size]
        samples = self.sources.training.samples(share.ravel(), epoch)
        target = torch.from_numpy(self.store.target[window.rows]).to(device)
        weight_sum = self.class_weight[target].sum(1)
        factor = 1 + self.recipe.stretch * window.random[:, rank::size]
        stretch = torch.from_numpy(factor).float().to(device)
        for batch, n in enumerate(range(0, share.size, share.shape[1])):
            if self.recipe.dropout:
                # Masks differ between processes, and are the same again after a resume.
                seed = np.random.SeedSequence((self.seed, epoch, first + batch, rank))
                torch.manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
            of = slice(n, n + share.shape[1])
            loss = self._update(
                samples.pairs[of],
                samples.target[of],
                samples.regression[of],
                stretch[batch],
                weight_sum[batch],
            )
            if self.recipe.schedule == "onecycle":
                self.scheduler.step()
            if self.average:
                self.average.update_parameters(self.model)
            yield loss

    def update(
        self,
        pairs: torch.Tensor,
        target: torch.Tensor,
        regression: torch.Tensor,
        stretch: torch.Tensor,
        weight_sum: torch.Tensor,
    ) -> torch.Tensor:
        """An optimiser's step on a global batch, of which this process has b rows.

        Args:
            pairs: (b, 2, R), target (b,) and regression (b, 2) as in `Samples`.
            stretch: (b,) factor of r.
            weight_sum: () sum of the class weights of the global batch.

        Returns:
            () this process's share of the batch's weighted mean loss.
        """
        if self.recipe.stretch:
            pairs = stretch_pairs(pairs, stretch, self.store.start)
        self.optimizer.zero_grad()
        of_pairs, of_target, of_regression = (
            # As many on every process, of which each may sum over all in every pass.
            whole.tensor_split(self.recipe.accumulation)
            for whole in (pairs, target, regression)
        )
        shown = torch.zeros((), device=pairs.device)
        for part in range(len(of_pairs)):
            together = part == len(of_pairs) - 1 or self.world.size == 1
            with nullcontext() if together else self.parallel.no_sync():  # type: ignore[operator]
                loss, extra = self.loss(
                    of_pairs[part], of_target[part], of_regression[part], weight_sum
                )
                # Gradients are averaged over processes, the loss is a sum.
                ((loss + extra) * self.world.size).backward()
            shown += loss.detach()
        if self.recipe.gradient_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_norm)
        self.optimizer.step()
        return shown

    def loss(
        self,
        pairs: torch.Tensor,
        target: torch.Tensor,
        regression: torch.Tensor,
        weight_sum: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor | float]:
        """What rows add to the batch's weighted cross entropy, and to its other terms."""
        is_mixed = self.recipe.precision == "bfloat16"
        with torch.autocast(pairs.device.type, torch.bfloat16, enabled=is_mixed):
            output = self.parallel(pairs)
        output = output.float()
        logits, mean, log_deviation = Outputs.of(output, self.classes)
        loss = F.cross_entropy(logits, target, self.class_weight, reduction="sum") / weight_sum
        if not mean.shape[1]:
            return loss, 0.0
        error = F.smooth_l1_loss(mean, regression, reduction="sum", beta=ERROR_SCALE)
        # Of a Laplace density of the errors, found by means that this does not move.
        away = (mean.detach() - regression).abs() * (-log_deviation).exp()
        error = error + DEVIATION_WEIGHT * (away + log_deviation).sum()
        scale = self.recipe.regression_weight / (self.order.batch_size * mean.shape[1])
        return loss, scale * error

    def validate(self, check: Callable[[], object]) -> tuple[float, float]:
        """Weighted loss and accuracy on the validation rows; equal on every process."""
        rows = self.rows["val"]
        found = predict(
            self.best_model, self.sources.held_out, rows, self.classes, self.world, check
        )
        logits = found.outputs.logits
        target = torch.from_numpy(self.store.target[rows])
        loss = float(F.cross_entropy(logits, target, self.class_weight.cpu()))
        if self.recipe.schedule == "plateau":
            self.scheduler.step(metrics=loss)
        return loss, float((logits.argmax(1) == target).float().mean())

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state, possibly of another kind of device."""
        groups = zip(state["optimizer"]["param_groups"], self.optimizer.param_groups, strict=True)
        for saved, own in groups:
            rate = float(saved["lr"])
            saved |= {key: own[key] for key in ("fused", "capturable")}
            saved["lr"] = torch.full_like(own["lr"], rate) if own["capturable"] else rate
        state["scheduler"].pop("base_lrs", None)  # of the recipe, in the device's form
        for name, part in self._parts.items():
            part.load_state_dict(state[name])

    @property
    def _parts(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}
        return parts | ({"average": self.average} if self.average else {})
