"""Model, optimiser and schedule of one process, and the steps of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from itertools import tee
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from train.data.order import EpochOrder, Window
from train.data.reading import Share
from train.data.sources import Batch, Sources
from train.fitting.graphs import GraphedStep
from train.fitting.optimisation import RunningAverage, make_optimizer, make_scheduler
from train.judging.evaluation import predict
from train.problems import Problem
from train.setup.distributed import World, sum_in_rank_order

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
        problem: Problem,
        sources: Sources,
        rows: dict[str, np.ndarray],
        seed: int,
        window: int | None,
        world: World,
    ) -> None:
        recipe, examples = problem.recipe, sources.stored.examples
        self.problem, self.recipe, self.sources, self.rows = problem, recipe, sources, rows
        self.examples, self.seed, self.world = examples, seed, world
        self.order = EpochOrder(examples, rows["train"], recipe.batch_size, seed, window)
        self.lanes = self.order.lanes_of(world.rank, world.size)
        self.columns = self.order.columns_of(world.rank, world.size)
        if self.order.fewest_rows(world.size) < recipe.accumulation:
            raise ValueError(
                f"{world.size} processes with accumulation = {recipe.accumulation} leave some "
                f"without a row of a batch of {self.order.batch_size}; use fewer"
            )

        torch.manual_seed(seed)
        model = problem.model()
        if world.is_main:  # rows from all over the store, which one process reads for all
            model.fit_inputs(self._inputs_to_standardise().cpu())  # type: ignore[operator]
        layout = problem.layout(model)
        self.objective = problem.objective(examples, rows["train"], layout, world.device)
        self.model = model.to(world.device)
        for buffer in self.model.buffers():
            world.take_from_main(buffer)
        self.parallel = self._in_parallel()
        self.average = None
        if recipe.average_decay:
            self.average = RunningAverage(self.model, recipe.average_decay)
        self.optimizer = make_optimizer(recipe, self.model)
        self.scheduler = make_scheduler(recipe, self.optimizer, self.order.batches)
        self._update: Callable[..., Tensor] = self.update
        if recipe.cuda_graphs and world.device.type == "cuda" and world.size == 1:
            self._update = GraphedStep(self.update)

    def _inputs_to_standardise(self) -> Tensor:
        rows = self.rows["train"]
        if len(rows) > _ROWS_TO_STANDARDISE:
            random = np.random.default_rng(self.seed)
            rows = np.sort(random.choice(rows, _ROWS_TO_STANDARDISE, replace=False))
        return self.sources.training.samples(rows).inputs

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
    def best_model(self) -> nn.Module:
        """The weights to evaluate: the running average where there is one."""
        return self.average.module if self.average else self.model

    def steps(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        """Take the epoch's steps from `start` on.

        Yields:
            After each step, this process's share of the batch's loss, as it is shown.
        """
        self.parallel.train()
        windows, coming = tee(self._windows_from(epoch, start))
        shares = (self._share(window) for _, window in coming)
        with closing(self.sources.training.in_turn(shares, epoch)) as loaded:
            for (first, window), samples in zip(windows, loaded, strict=False):
                yield from self._steps_of(window, samples, epoch, first)

    def _windows_from(self, epoch: int, start: int) -> Iterator[tuple[int, Window]]:
        """What is left of an epoch from a step on, and the step at which each window begins."""
        done = 0
        for window in self.order.windows(epoch):
            skipped = max(0, start - done)
            first, done = done + skipped, done + len(window.rows)
            if done > start:
                yield first, Window(window.rows[skipped:], window.random[skipped:], window.held)

    def _share(self, window: Window) -> Share:
        held = np.concatenate([window.held[lane] for lane in self.lanes])
        structures = np.unique(self.examples.rows[held, 0])
        return Share(window.rows[:, self.columns].ravel(), structures)

    def _steps_of(self, window: Window, samples: Batch, epoch: int, first: int) -> Iterator[Tensor]:
        """Steps on this process's share of each global batch of a window."""
        rank, device, width = self.world.rank, self.world.device, len(self.columns)
        whole = {
            name: torch.from_numpy(values[window.rows]).to(device)
            for name, values in self.examples.targets.items()
        }
        n_rows = torch.full((len(window.rows),), float(self.order.batch_size), device=device)
        weights = {"rows": n_rows, **self.objective.weights(whole)}
        random = torch.from_numpy(window.random[:, self.columns]).to(device)
        for batch in range(len(window.rows)):
            if self.recipe.dropout:
                # Masks differ between processes, and are the same again after a resume.
                seed = np.random.SeedSequence((self.seed, epoch, first + batch, rank))
                torch.manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
            of = slice(batch * width, (batch + 1) * width)
            loss = self._update(
                samples.inputs[of],
                random[batch],
                {name: values[of] for name, values in samples.targets.items()},
                {name: values[batch] for name, values in weights.items()},
            )
            if self.recipe.schedule == "onecycle":
                self.scheduler.step()
            if self.average:
                self.average.update_parameters(self.model)
            yield loss

    def update(
        self,
        inputs: Tensor,
        random: Tensor,
        targets: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
    ) -> Tensor:
        """An optimiser's step on a global batch, of which this process has b rows.

        Args:
            inputs: (b, ...) and targets (b, ...) as in `Batch`.
            random: (b,) as of `Problem.augment`.
            weights: () of the global batch, as of `Objective.losses`.

        Returns:
            () this process's share of the batch's loss, as it is shown.
        """
        inputs = self.problem.augment(inputs, random)
        self.optimizer.zero_grad()
        parts = self.recipe.accumulation
        # As many on every process, of which each may sum over all in every pass.
        of_inputs = inputs.tensor_split(parts)
        of_targets = {name: values.tensor_split(parts) for name, values in targets.items()}
        shown = torch.zeros((), device=inputs.device)
        for part in range(parts):
            together = part == parts - 1 or self.world.size == 1
            batch = Batch(of_inputs[part], {name: of[part] for name, of in of_targets.items()})
            with nullcontext() if together else self.parallel.no_sync():  # type: ignore[operator]
                loss, of_batch = self.loss(batch, weights)
                # Gradients are averaged over processes, the loss is a sum.
                (loss * self.world.size).backward()
            shown += of_batch.detach()
        if self.recipe.gradient_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_norm)
        self.optimizer.step()
        return shown

    def loss(self, batch: Batch, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What rows add to the batch's loss, and to the part of it that is shown."""
        is_mixed = self.recipe.precision == "bfloat16"
        with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=is_mixed):
            output = self.parallel(batch.inputs)
        terms = self.objective.losses(output.float(), batch, weights)
        shares = [(term.sum / term.weight, term.is_shown) for term in terms]
        total = sum(share for share, _ in shares)
        return cast(Tensor, total), cast(Tensor, sum(share for share, shown in shares if shown))

    def validate(self, check: Callable[[], object]) -> dict[str, float]:
        """Scores of the validation rows, `val_loss` among them; equal on every process."""
        found = predict(
            self.best_model,
            self.problem,
            self.sources.held_out,
            self.rows["val"],
            self.world,
            check,
        )
        scores = self.objective.validate(found)
        if self.recipe.schedule == "plateau":
            self.scheduler.step(metrics=scores["val_loss"])
        return scores

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
