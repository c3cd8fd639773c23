"""The fit: epochs of permuted batches over a dataset that stays on the device."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from train.data import Samples, load_samples, read_store, stretch_pairs
from train.distributed import World
from train.evaluation import predict_logits, score
from train.models import build_model
from train.recipes import Recipe
from train.rundir import (
    HISTORY,
    METRICS,
    RunConfig,
    best_epoch,
    load_model,
    load_snapshot,
    prepare_run,
    save_model,
    save_snapshot,
    write_json,
    write_text,
)
from train.splits import SplitKind, split_rows

WARM_UP = 0.15  # fraction of the steps of the one-cycle schedule
Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


def fit(
    store_path: Path, run: Path, recipe: Recipe, split: SplitKind, seed: int, world: World
) -> dict[str, Any] | None:
    """Train, or continue to train, into `run`; the final metrics, or None if asked to stop before.

    SIGTERM or SIGUSR2 ends the fit after the current epoch; the same call continues it.
    """
    console = Console(quiet=not world.is_main, highlight=False)
    store = read_store(store_path)
    rows = split_rows(store, split, seed)
    config = RunConfig.of(store, recipe, split, seed)
    if world.is_main:
        prepare_run(run, config, rows)
    world.barrier()
    if (run / METRICS).exists():
        _say(console, f"{run} is already finished after {recipe.epochs} epochs")
        return json.loads((run / METRICS).read_text())

    samples = load_samples(store, recipe.scaling, world.device)
    trainer = Trainer(recipe, samples, rows, seed, world)
    history, finished = run_epochs(trainer, run, console)
    world.barrier()
    if not finished:
        _say(console, f"stopped after epoch {len(history)}; the same command continues")
        return None
    model, _ = load_model(run, world.device)
    best = best_epoch(history)["epoch"]
    metrics: dict[str, Any] = {"epochs": len(history), "best_epoch": best}
    for part in ("val", "test"):
        logits = predict_logits(model, samples.pairs[rows[part]], len(store.classes), world)
        metrics[part] = score(logits, samples.target[rows[part]], store.classes)
    metrics["seconds"] = sum(epoch["seconds"] for epoch in history)
    if world.is_main:
        write_json(run / METRICS, metrics)
    return metrics


class Trainer:
    """Model, optimiser and schedule of one process; `state_dict` is all that a resume needs.

    Random numbers come from (seed, epoch) and, for dropout, the rank, so none need be saved.
    """

    def __init__(
        self,
        recipe: Recipe,
        samples: Samples,
        rows: dict[str, np.ndarray],
        seed: int,
        world: World,
    ):
        self.recipe, self.samples, self.rows = recipe, samples, rows
        self.seed, self.world = seed, world
        self.classes = classes = len(samples.classes)
        torch.manual_seed(seed)
        model = build_model(recipe.model, samples.pairs.shape[-1], classes)
        model.fit_inputs(samples.pairs[rows["train"]])
        model = model.to(world.device)
        self.parallel: torch.nn.Module = model
        if world.size > 1:
            if world.device.type == "cuda":  # only there; on CPUs the reference wants one process
                model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
            self.parallel = DistributedDataParallel(model)
        self.model = model
        self.average = None
        if recipe.average_decay:
            self.average = average_weights(model, recipe.average_decay)

        # A last, smaller batch is left out, unless it is the only one; each epoch's differs.
        self.batches = max(1, len(rows["train"]) // recipe.batch_size)
        self.optimizer = make_optimizer(recipe, model)
        self.scheduler = make_scheduler(recipe, self.optimizer, self.batches)
        counts = torch.bincount(samples.target[rows["train"]], minlength=classes)
        self.class_weight = counts.sum() / (classes * counts.clamp(min=1))

    @property
    def best_model(self) -> torch.nn.Module:
        """The weights to evaluate: the running average where there is one."""
        return self.average.module if self.average else self.model

    def train_epoch(self, epoch: int) -> float:
        """One pass over the training rows in an order of (seed, epoch); the mean loss."""
        random = np.random.default_rng((self.seed, epoch))
        # Dropout differs between processes; without dropout the rank makes no difference.
        torch.manual_seed(int(random.integers(2**62)) + self.world.rank)
        order = torch.from_numpy(random.permutation(self.rows["train"])).to(self.world.device)
        factors = 1 + self.recipe.stretch * random.uniform(-1, 1, len(order))
        stretch = torch.from_numpy(factors).float().to(self.world.device)
        size = self.recipe.batch_size
        total = torch.zeros((), device=self.world.device)
        self.parallel.train()
        for start in range(0, self.batches * size, size):
            batch = order[start : start + size]
            total += self.train_batch(batch, stretch[start : start + size])
        return float(self.world.sum(total)) / self.batches

    def train_batch(self, batch: torch.Tensor, stretch: torch.Tensor) -> torch.Tensor:
        """A step on a global batch; returns this process's share of its weighted mean loss."""
        rank, size = self.world.rank, self.world.size
        weight_sum = self.class_weight[self.samples.target[batch]].sum()
        share = batch[rank::size]
        pairs, target = self.samples.pairs[share], self.samples.target[share]
        if self.recipe.stretch:
            pairs = stretch_pairs(pairs, stretch[rank::size], self.samples.start)
        output = self.parallel(pairs)
        logits, regression = output[:, : self.classes], output[:, self.classes :]
        loss = F.cross_entropy(logits, target, self.class_weight, reduction="sum") / weight_sum
        shared = loss.detach()
        if self.recipe.regression_weight:
            error = F.smooth_l1_loss(regression, self.samples.regression[share], reduction="sum")
            loss = loss + self.recipe.regression_weight * error / (len(batch) * regression.shape[1])
        self.optimizer.zero_grad()
        (loss * size).backward()  # gradients are averaged over processes, the loss is a sum
        if self.recipe.gradient_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_norm)
        self.optimizer.step()
        if self.recipe.schedule == "onecycle":
            self.scheduler.step()
        if self.average:
            self.average.update_parameters(self.model)
        return shared

    def validate(self) -> tuple[float, float]:
        """Weighted loss and accuracy on the validation rows; equal on every process."""
        rows = self.rows["val"]
        logits = predict_logits(self.best_model, self.samples.pairs[rows], self.classes, self.world)
        target = self.samples.target[rows]
        loss = float(F.cross_entropy(logits, target, self.class_weight))
        if self.recipe.schedule == "plateau":
            self.scheduler.step(metrics=loss)
        return loss, float((logits.argmax(1) == target).float().mean())

    def state_dict(self) -> dict[str, Any]:
        parts: dict[str, Any] = {
            "model": self.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
        }
        if self.average:
            parts["average"] = self.average
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in state.items():
            getattr(self, name).load_state_dict(part)


def average_weights(model: torch.nn.Module, decay: float) -> AveragedModel:
    """Exponential average that forgets faster at first, so that it never lags by an epoch."""

    def update(averaged: Tensors, current: Tensors, count: torch.Tensor | int) -> None:
        keep = min(decay, (1 + int(count)) / (10 + int(count)))
        for old, new in zip(averaged, current, strict=True):
            old.lerp_(new, 1 - keep) if old.is_floating_point() else old.copy_(new)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


def make_optimizer(recipe: Recipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    if not recipe.weight_decay:
        return torch.optim.Adam(model.parameters(), recipe.learning_rate)
    decayed = [p for p in model.parameters() if p.ndim > 1]  # no decay of biases and norms
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, recipe.learning_rate)


def make_scheduler(recipe: Recipe, optimizer: torch.optim.Optimizer, batches: int) -> Any:
    if recipe.schedule == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.85, patience=5, threshold=0.005, min_lr=1e-7
        )
    steps = recipe.epochs * batches
    warm_up = max(1, math.ceil(WARM_UP * steps))

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def run_epochs(
    trainer: Trainer, run: Path, console: Console
) -> tuple[list[dict[str, float]], bool]:
    """Epochs from the snapshot, if any, to the last; the history and whether all were run."""
    world, recipe = trainer.world, trainer.recipe
    history: list[dict[str, float]] = []
    if snapshot := load_snapshot(run, world.device):
        history = snapshot.pop("history")
        trainer.load_state_dict(snapshot)
        _say(console, f"continuing {run} after epoch {len(history)}")
    if world.is_main:  # a run killed between two writes left a line more than the snapshot has
        write_text(run / HISTORY, "".join(json.dumps(epoch) + "\n" for epoch in history))
    with stop_signals() as stopping, _progress(console) as progress:
        task = progress.add_task("epochs", total=recipe.epochs, completed=len(history))
        for epoch in range(len(history), recipe.epochs):
            began = time.perf_counter()
            train_loss = trainer.train_epoch(epoch)
            val_loss, val_accuracy = trainer.validate()
            record = {
                "epoch": epoch + 1,
                "train_loss": train_loss,
                "val_loss": val_loss,
                "val_accuracy": val_accuracy,
                "learning_rate": trainer.optimizer.param_groups[0]["lr"],
                "seconds": round(time.perf_counter() - began, 3),
            }
            history.append(record)
            if world.is_main:
                keep_epoch(trainer, run, history)
            progress.advance(task)
            _say(
                console,
                f"epoch {epoch + 1:3d}/{recipe.epochs}  train loss {train_loss:.4f}  "
                f"val loss {val_loss:.4f}  val accuracy {val_accuracy:.4f}  "
                f"{record['seconds']:.1f} s",
            )
            if world.any(bool(stopping)):
                break
    return history, len(history) >= recipe.epochs


def keep_epoch(trainer: Trainer, run: Path, history: list[dict[str, float]]) -> None:
    """Write what an epoch gave: the model if it is the best so far, the record, the snapshot."""
    if best_epoch(history) is history[-1]:
        save_model(run, trainer.best_model)
    with (run / HISTORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps(history[-1]) + "\n")
    save_snapshot(run, trainer.state_dict() | {"history": history})


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that gets an entry when the process is asked to stop."""
    received: list[int] = []
    signals = (signal.SIGTERM, signal.SIGUSR2)
    previous = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in signals
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _say(console: Console, line: str) -> None:
    """Print a line as it is: paths may hold brackets, and a log needs no wrapping."""
    console.print(line, markup=False, soft_wrap=True)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
