"""Trainers and what training.py times of them: steps, their parts, and the work in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import train.problems.defects.task
from benchmarks.stages import Timers
from train.data.sources import window_of
from train.data.splits import split_rows
from train.data.store import Dataset
from train.fitting.trainer import Trainer
from train.problems import find_problem
from train.setup.distributed import World
from train.setup.recipes import Recipe

SAMPLES, STRETCH, FORWARD = "samples", "stretch", "features and forward"
BACKWARD, OPTIMISER = "backward", "clip and optimiser"
AVERAGE, REST = "average and schedule", "rest"
PARTS = (SAMPLES, STRETCH, FORWARD, BACKWARD, OPTIMISER, AVERAGE, REST)
PRODUCT = "product"
Work = tuple[Callable[[], object], float]
"""Something to do and how many floating-point operations it is."""


class StepTimers(Timers):
    """Seconds by part of a step, each of them with the device's work."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(REST, time.monotonic())
        self._device = device

    def switch(self, name: str | None = None) -> None:
        synchronise(self._device)
        super().switch(name)

    def restart(self) -> None:
        self.switch()
        self.seconds.clear()


def make_trainer(data: Dataset, device: torch.device, recipe: Recipe) -> Trainer:
    """A trainer as `train.fitting.loop.fit` makes it, alone."""
    world = World(0, 1, device)
    problem = find_problem(recipe.problem).of(data, recipe)
    examples = problem.examples(data)
    sources = problem.sources(examples, 0, world)
    window = window_of(examples, problem.most_at_once, world)
    trainer = Trainer(problem, sources, split_rows(examples, "host", 0), 0, window, world)
    if trainer.order.batches < 2:
        raise ValueError(
            f"--store {data.path} gives recipe {recipe.name} a single batch of "
            f"{trainer.order.batch_size} rows an epoch; take a larger store"
        )
    return trainer


def whole_step(trainer: Trainer, steps: int, run: int) -> float:
    """Seconds of a step, without the loading of samples, which comes before the first."""
    taking = trainer.steps(run)
    next(taking)
    synchronise(trainer.world.device)
    started = time.perf_counter()
    taken = len(list(islice(taking, steps)))
    synchronise(trainer.world.device)
    return (time.perf_counter() - started) / taken


def parts_of_step(trainer: Trainer, steps: int, run: int) -> dict[str, float]:
    """Seconds of a step by its parts, without the samples."""
    timers = StepTimers(trainer.world.device)
    with ExitStack() as replacements:
        # In a CUDA graph no part can be told from the others.
        replacements.enter_context(replaced(trainer, "_update", trainer.update))
        for owner, function, part in (
            (train.problems.defects.task, "stretch_pairs", STRETCH),
            (trainer, "loss", FORWARD),
            (torch.Tensor, "backward", BACKWARD),
            (nn.utils, "clip_grad_norm_", OPTIMISER),
            (trainer.optimizer, "step", OPTIMISER),
            (trainer.scheduler, "step", AVERAGE),
            *([(trainer.average, "update_parameters", AVERAGE)] if trainer.average else []),
        ):
            timed: Callable[..., Any] = timers.stage(part)(getattr(owner, function))
            replacements.enter_context(replaced(owner, function, timed))
        taking = trainer.steps(run)
        next(taking)
        timers.restart()
        taken = len(list(islice(taking, steps)))
        timers.switch()
    return {part: seconds / taken for part, seconds in timers.seconds.items()}


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def epoch_samples(trainer: Trainer, run: int) -> float:
    """Seconds in which the samples of an epoch are made."""

    def make() -> None:
        for window in trainer.order.windows(run):
            trainer.sources.training.samples(window.rows.ravel(), run)

    return seconds_each(make, 1, trainer.world.device)


def seconds_each(call: Callable[[], object], times: int, device: torch.device) -> float:
    """Seconds of one of several calls."""
    synchronise(device)
    started = time.perf_counter()
    for _ in range(times):
        call()
    synchronise(device)
    return (time.perf_counter() - started) / times


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def batch_of(trainer: Trainer) -> tuple[Any, ...]:
    """What `Trainer.update` takes, for a batch in the order of the store and without a stretch."""
    rows = trainer.rows["train"][: trainer.order.batch_size]
    inputs, targets = trainer.sources.stored.samples(rows)
    random = torch.zeros(len(rows), dtype=torch.double, device=trainer.world.device)
    of_batch = trainer.objective.weights({name: of[None] for name, of in targets.items()})
    weights = {"rows": torch.tensor(float(len(rows))).to(inputs.device)}
    return inputs, random, targets, weights | {name: of[0] for name, of in of_batch.items()}


def operations(trainer: Trainer) -> int:
    """Floating-point operations of the products in a step."""
    with FlopCounterMode(display=False) as counter:
        trainer.update(*batch_of(trainer))
    return counter.get_total_flops()


def matrix_product(size: int, device: torch.device, dtype: torch.dtype) -> Work:
    one, other = torch.randn(2, size, size, device=device, dtype=dtype)
    return partial(torch.matmul, one, other), 2.0 * size**3


def tf32_product(size: int, device: torch.device) -> Work:
    product, flop = matrix_product(size, device, torch.float32)

    def multiply() -> None:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        product()
        torch.set_float32_matmul_precision(before)

    return multiply, flop


def widest_convolution(trainer: Trainer) -> Work:
    """Forward and backward of the convolution with most weights, on what a batch gives it."""
    convolutions = [m for m in trainer.model.modules() if isinstance(m, nn.Conv2d)]
    widest = max(convolutions, key=lambda module: module.weight.numel())
    seen: list[torch.Tensor] = []
    hook = widest.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    trainer.model(batch_of(trainer)[0])
    hook.remove()
    x = seen[0].requires_grad_()
    gradient = torch.randn_like(widest(x))

    def both_ways() -> None:
        x.grad = None
        widest.zero_grad()
        widest(x).backward(gradient)

    with FlopCounterMode(display=False) as counter:
        both_ways()
    return both_ways, counter.get_total_flops()


def ceilings(trainers: dict[str, Trainer], size: int, device: torch.device) -> dict[str, Work]:
    found = {f"{PRODUCT} of {size} x {size}, float32": matrix_product(size, device, torch.float32)}
    if device.type == "cuda":
        half = matrix_product(size, device, torch.bfloat16)
        found[f"{PRODUCT} of {size} x {size}, TF32"] = tf32_product(size, device)
        found[f"{PRODUCT} of {size} x {size}, bfloat16"] = half
    for name, trainer in trainers.items():
        found[f"widest convolution of {name}"] = widest_convolution(trainer)
    return found
