"""The fit: from a store to a run directory, and on from where another process had to stop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hpc.watching.console import plain_console
from pdfcalc.files import append_text
from train.data.examples import Examples
from train.data.leakage import Split
from train.data.sources import Sources, window_of
from train.data.store import Dataset
from train.fitting.trainer import Trainer
from train.fitting.watch import StopRequested, Watch
from train.judging.evaluation import predict
from train.judging.familiarity import REFERENCES, Familiarity
from train.problems import Problem, find_problem
from train.run_files import CALIBRATION, HISTORY, METRICS
from train.runs.rundir import (
    RunConfig,
    best_epoch,
    load_model,
    load_snapshot,
    prepare_run,
    read_config,
    read_metrics,
    read_split,
    save_model,
    save_snapshot,
    write_json,
    write_text,
)
from train.runs.scalars import epoch_scalars
from train.setup.distributed import World, make_deterministic
from train.setup.recipes import Recipe

if TYPE_CHECKING:
    from rich.console import Console

SNAPSHOT_SECONDS = 20.0
_STEPS_BETWEEN_CHECKS = 16


def fit(
    store_path: Path,
    run: Path,
    recipe: Recipe,
    split: str | None,
    seed: int,
    world: World,
    snapshot_seconds: float = SNAPSHOT_SECONDS,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Train, or continue to train, into `run`; the final metrics.

    SIGINT, SIGTERM or SIGUSR2 ends the fit after a few steps; the same call continues it there.
    After a kill it continues from the last snapshot.

    Args:
        recipe: of the problem that is learned.
        split: one of the problem's; None for its first.
        snapshot_seconds: between snapshots.
        tensorboard: write each epoch's record to `run`/tensorboard, too.

    Raises:
        StopRequested: a signal has ended the fit before its last epoch.
        OSError: a file can't be written, as on a full disk; what was written stays as it was.
    """
    console = plain_console(quiet=not world.is_main)
    if recipe.deterministic:
        make_deterministic()
    data = Dataset.open(store_path)
    problem = find_problem(recipe.problem).of(data, recipe)
    examples = problem.examples(data)
    split = split or next(iter(examples.splits))
    window = window_of(examples, problem.most_at_once, world)
    config = RunConfig.of(problem, examples, split, seed, window)
    world.on_main(lambda: prepare_run(run, config, lambda: problem.split(examples, split, seed)))
    if (run / METRICS).exists():
        metrics = read_metrics(run)
        _say(console, f"{run} is already finished after {metrics['epochs']} epochs")
        return metrics

    config, parts = read_config(run), read_split(run)
    _say_what_leaks(console, examples, split, parts)
    sources = problem.sources(examples, seed, world)
    trainer = Trainer(problem, sources, parts.rows, seed, config.window, world)
    training = Training(trainer, run, config.token, console)
    writer: AbstractContextManager[Callable] = nullcontext(lambda record: None)
    if tensorboard and world.is_main:
        writer = epoch_scalars(run, training.history)
    with Watch(world, snapshot_seconds) as watch, writer as write:
        training.run_epochs(watch, write)
    world.barrier()
    history = training.history
    metrics = {"epochs": len(history), "best_epoch": best_epoch(history, problem)["epoch"]}
    metrics |= _final_scores(run, problem, parts, sources, world)
    metrics["seconds"] = round(sum(epoch["seconds"] for epoch in history), 3)
    if world.is_main:
        _familiarity(run, problem, parts, sources).save(run)
        write_json(run / METRICS, metrics)
    return metrics


def _final_scores(
    run: Path, problem: Problem, parts: Split, sources: Sources, world: World
) -> dict[str, Any]:
    """Scores of the best model, calibrated on the validation part, on the held-out parts.

    Those on the store's rows, and where training varied more than these, also on varied ones.
    """
    model, _ = load_model(run, world.device)
    kinds = {"": sources.stored} | ({"_varied": sources.held_out} if sources.varies else {})
    found = {
        (part, kind): predict(model, problem, source, parts.rows[part], world)
        for part in ("val", "test")
        for kind, source in kinds.items()
    }
    calibration = problem.calibrate(found["val", list(kinds)[-1]])
    if world.is_main:
        write_text(run / CALIBRATION, calibration.model_dump_json() + "\n")
    scores: dict[str, Any] = {}
    for (part, kind), of_part in found.items():
        calibrated = of_part._replace(outputs=calibration.apply(of_part.outputs))
        scores[part + kind] = problem.judge(calibrated) | {"leakage": parts.leakage[part]}
    return scores


def _familiarity(run: Path, problem: Problem, parts: Split, sources: Sources) -> Familiarity:
    train, val = (evenly(parts.rows[part], REFERENCES) for part in ("train", "val"))
    known, held_out = sources.training.samples(train), sources.held_out.samples(val)
    model, _ = load_model(run)
    return Familiarity.fit(problem.views(model), known.inputs.cpu(), held_out.inputs.cpu())


def evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """Some of the rows, as evenly as can be over the hosts, which come in order."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)]


class Training:
    """Epochs from where the run's snapshot is, if it has one, to the last."""

    def __init__(self, trainer: Trainer, run: Path, token: str, console: Console) -> None:
        self.trainer, self.run, self.console = trainer, run, console
        self.world, self._token = trainer.world, token
        self.history: list[dict[str, float]] = []
        self._step = 0
        self._loss = torch.zeros((), dtype=torch.float64, device=self.world.device)
        self._best: dict[str, torch.Tensor] = {}
        self._began = time.perf_counter()
        self._resume()

    def run_epochs(self, watch: Watch, write: Callable[[dict[str, float]], object]) -> None:
        """Go on to the last epoch, or raise StopRequested with a snapshot written.

        Args:
            write: called with the record of each epoch.
        """
        try:
            with _progress(self.console) as progress:
                task = progress.add_task("epochs", total=self.trainer.recipe.epochs)
                while not self._is_finished:
                    self._save_if_due(watch)
                    self._run_epoch(watch, lambda done: progress.update(task, completed=done))
                    write(self.history[-1])
        except StopRequested:
            self._save()
            _say(self.console, f"stopped {self._place}; the same command continues")
            raise
        self._save()

    @property
    def _is_finished(self) -> bool:
        history, patience = self.history, self.trainer.recipe.patience
        if patience and history and len(history) - self._best_epoch["epoch"] >= patience:
            return True
        return len(history) >= self.trainer.recipe.epochs

    @property
    def _best_epoch(self) -> dict[str, float]:
        return best_epoch(self.history, self.trainer.problem)

    @property
    def _place(self) -> str:
        after = f"after epoch {len(self.history)}"
        return f"{after} and {self._step} steps" if self._step else after

    def _run_epoch(self, watch: Watch, show: Callable[[float], None]) -> None:
        epoch, batches = len(self.history), self.trainer.order.batches
        for loss in self.trainer.steps(epoch, self._step):
            self._loss += loss
            self._step += 1
            if self._step % _STEPS_BETWEEN_CHECKS == 0:
                show(epoch + self._step / batches)
                self._save_if_due(watch)
        self._end_epoch(self.trainer.validate(lambda: self._save_if_due(watch)))
        show(epoch + 1)

    def _end_epoch(self, validated: Mapping[str, float]) -> None:
        train_loss = float(self.world.sum(self._loss)) / self.trainer.order.batches
        if not math.isfinite(train_loss):
            raise ValueError(
                f"{self.run}: the loss of epoch {len(self.history) + 1} is {train_loss}; "
                "try a lower learning_rate, in a new --out"
            )
        record = {
            "epoch": len(self.history) + 1,
            "train_loss": train_loss,
            **validated,
            "learning_rate": float(self.trainer.optimizer.param_groups[0]["lr"]),
            "seconds": round(time.perf_counter() - self._began, 3),
        }
        self.history.append(record)
        if self._best_epoch is record:
            state = self.trainer.best_model.state_dict()
            self._best = {key: value.clone() for key, value in state.items()}
        self._began, self._step = time.perf_counter(), 0
        self._loss.zero_()
        if self.world.is_main:
            append_text(self.run / HISTORY, json.dumps(record) + "\n")
        shown = {"train_loss": train_loss, **validated}
        scores = (f"{name.replace('_', ' ')} {value:.4f}" for name, value in shown.items())
        _say(
            self.console,
            f"epoch {record['epoch']:3d}/{self.trainer.recipe.epochs}  {'  '.join(scores)}  "
            f"{record['seconds']:.1f} s",
        )

    def _save_if_due(self, watch: Watch) -> None:
        if watch.snapshot_is_due():
            self._save()

    def _save(self) -> None:
        """Write the best model and a snapshot; to be called by all processes."""
        loss = float(self.world.sum(self._loss.clone()))
        if not self.world.is_main:
            return
        if self._best:
            save_model(self.run, self._best)
        progress = {
            "history": self.history,
            "step": self._step,
            "loss": loss,
            "seconds": time.perf_counter() - self._began,
            "best": self._best,
        }
        save_snapshot(self.run, self._token, progress | self.trainer.state_dict())

    def _resume(self) -> None:
        restore = self.trainer.load_state_dict
        if state := load_snapshot(self.run, self._token, self.world.device, restore):
            self.history, self._step, self._best = state["history"], state["step"], state["best"]
            if self.world.is_main:
                self._loss += state["loss"]
            self._began -= state["seconds"]
            _say(self.console, f"continuing {self.run} {self._place}")
        if self.world.is_main:  # a killed run may have left lines that the snapshot doesn't know
            write_text(
                self.run / HISTORY, "".join(json.dumps(epoch) + "\n" for epoch in self.history)
            )


def _say_what_leaks(console: Console, examples: Examples, split: str, parts: Split) -> None:
    test = parts.leakage["test"]
    if examples.splits[split].leaks:
        shared = f"{test['hosts_in_training']} of {test['hosts']} test hosts"
        _say(
            console,
            f"warning: the {split} split has {shared} in training, too: for comparison only",
        )
    elif left_out := parts.leakage["left_out"]:
        hosts = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        _say(console, f"not trained on, as too like held-out hosts: {len(left_out)} ({hosts})")


def _say(console: Console, line: str) -> None:
    """Print a line; a log needs no wrapping."""
    console.print(line, soft_wrap=True)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f}/{task.total:.0f}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
