"""The run directory: configuration, split, metrics, best model, snapshot.

Every file is written beside its place and renamed, so a reader or a killed run never sees half.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from safetensors.torch import save

from hpc.description import PDFSettings, first_mistake
from pdfcalc.reading import open_regular
from train.data.leakage import QUANTILES, Split
from train.data.splits import PARTS, SPLIT_MEANING
from train.data.store import PDFStore
from train.models import Model, build_model
from train.problems.defects.inputs import PairInput
from train.runs.files import (
    CONFIG,
    HISTORY,
    LARGE,
    METRICS,
    MODEL,
    SNAPSHOT,
    SPLIT,
    damaged,
    missing,
    parse,
    read_bytes,
    read_content,
    read_tensors,
    unusable,
)
from train.setup.recipes import Recipe

SNAPSHOT_FORMAT = 3


class RunConfig(BaseModel):
    """What a run is; a run continues only under an equal `choices`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    split: str
    seed: NonNegativeInt
    store: str = Field(min_length=1)
    fingerprint: str
    input_hash: str | None = None
    """Of the store's run description and hosts; None where it has none."""
    classes: tuple[str, ...] = Field(min_length=2)
    r: tuple[float, ...] = Field(min_length=2)
    instrument: dict[str, Any] | None
    """[pdf] of the store's run description; None where it has none."""
    window: PositiveInt | None
    """Hosts in memory at once while training; None for all. It decides the order of the rows."""
    versions: dict[str, str]

    @field_validator("split")
    @classmethod
    def _is_a_split(cls, split: str) -> str:
        if split.partition(":")[0] not in SPLIT_MEANING:
            raise ValueError(f"{split!r} is not one of {', '.join(SPLIT_MEANING)}")
        return split

    @field_validator("instrument")
    @classmethod
    def _is_an_instrument(cls, instrument: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            PDFSettings.model_validate(instrument or {})
        except ValidationError as error:
            raise ValueError(first_mistake(error)) from None
        return instrument

    @property
    def inputs(self) -> PairInput:
        """What makes the network's input of two traces."""
        return PairInput(self.recipe.scaling, self.recipe.absorbed, self.r)

    @classmethod
    def of(
        cls, store: PDFStore, recipe: Recipe, split: str, seed: int, window: int | None
    ) -> RunConfig:
        packages = ("torch", "numpy", "zarr")
        return cls(
            recipe=recipe,
            split=split,
            seed=seed,
            store=str(store.path.resolve()),
            fingerprint=store.fingerprint,
            input_hash=store.attributes.get("input_hash"),
            classes=store.classes,
            r=tuple(store.r.tolist()),
            instrument=store.attributes.get("run", {}).get("pdf"),
            window=window,
            versions={"python": platform.python_version()} | {p: version(p) for p in packages},
        )

    @property
    def choices(self) -> dict[str, Any]:
        chosen = {"store ids": self.fingerprint[:12], "split": self.split, "seed": self.seed}
        if self.input_hash:
            chosen["store inputs"] = self.input_hash[:12]
        recipe = self.recipe.model_dump(mode="json")
        return chosen | {f"recipe {key}": value for key, value in recipe.items()}

    @property
    def token(self) -> str:
        """Hash of the choices and the order of rows: what a snapshot must be of."""
        content = self.choices | {"window": self.window}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Epoch(BaseModel):
    """A line of metrics.jsonl."""

    model_config = ConfigDict(extra="allow")

    epoch: PositiveInt
    train_loss: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float


class Scores(BaseModel):
    """Of a part in metrics.json, what every reader needs."""

    model_config = ConfigDict(extra="allow")

    accuracy: float
    top2: float
    n: PositiveInt


class Metrics(BaseModel):
    """metrics.json; a run that has it is finished."""

    model_config = ConfigDict(extra="allow")

    epochs: PositiveInt
    best_epoch: PositiveInt
    val: Scores
    test: Scores
    val_varied: Scores | None = None
    test_varied: Scores | None = None
    seconds: float


class PartLeakage(BaseModel):
    """What a held-out part shares with training, as of `train.data.leakage`."""

    hosts: PositiveInt
    hosts_in_training: NonNegativeInt
    nearest_training_host: dict[str, float]

    @model_validator(mode="after")
    def _has_the_quantiles(self) -> PartLeakage:
        for level in QUANTILES:
            if (name := f"{100 * level:g} %") not in self.nearest_training_host:
                raise ValueError(f"nearest_training_host has no {name}")
        return self


class Leakage(BaseModel):
    """Of both held-out parts; `left_out` of training, ids."""

    val: PartLeakage
    test: PartLeakage
    left_out: list[str]


class SplitRows(BaseModel):
    """split.json: positions in `PDFStore.rows` by part."""

    kind: str
    seed: NonNegativeInt
    leakage: Leakage
    train: list[NonNegativeInt]
    val: list[NonNegativeInt]
    test: list[NonNegativeInt]


class Snapshot(BaseModel):
    """What a snapshot holds beside the states of the trainer's parts."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    history: list[Epoch]
    step: NonNegativeInt
    loss: float
    seconds: float
    best: dict[str, torch.Tensor]


def prepare_run(run: Path, config: RunConfig, split: Split) -> None:
    """Begin a run directory, or see that the one that exists is of the same choices."""
    if (run / CONFIG).exists():
        old, new = read_config(run).choices, config.choices
        differing = [
            f"{key} was {old[key]}, now {new[key]}"
            for key in new
            if key in old and old[key] != new[key]
        ]
        if differing and _has_begun(run):
            raise ValueError(
                f"{run} holds another run ({'; '.join(differing)}); choose another --out"
            )
    else:
        run.mkdir(parents=True, exist_ok=True)
        if _has_begun(run):
            raise missing(run / CONFIG)
        if stray := sorted(path.name for path in run.iterdir()):
            raise ValueError(f"{run} is not a run and not empty ({stray[0]}); choose another --out")
    if not _has_begun(run):  # one that was refused after this leaves no choices behind
        write_json(run / CONFIG, config.model_dump(mode="json"))
    if not (run / SPLIT).exists() or not _has_begun(run):
        content = {"kind": config.split, "seed": config.seed, "leakage": split.leakage}
        rows = {name: split.rows[name].tolist() for name in PARTS}
        write_text(run / SPLIT, json.dumps(content | rows))


def _has_begun(run: Path) -> bool:
    return any((run / name).exists() for name in (SNAPSHOT, HISTORY, MODEL))


def read_config(run: Path) -> RunConfig:
    """What a run is.

    Raises:
        ValueError: as all functions here that read, the file is missing, damaged or of another
            version; the message names it and says what to do.
    """
    if not (run / CONFIG).exists() and not _has_begun(run):
        raise ValueError(f"{run} is not a run directory: it has no {CONFIG}")
    return read_content(run / CONFIG, RunConfig)


def read_split(run: Path, store: PDFStore) -> Split:
    """The run's split, after checking that `store` is what was split."""
    config = read_config(run)
    if config.fingerprint != store.fingerprint:
        raise ValueError(
            f"{store.path} is not the store that {run} was trained on ({config.store}): "
            "its structure ids or labels differ, so the split does not apply"
        )
    if not np.array_equal(config.r, store.r):
        raise ValueError(
            f"{store.path} has other points of r than {config.store}; {run} needs those"
        )
    found = _read_split(run)
    if (found.kind, found.seed) != (config.split, config.seed):
        raise unusable(run / SPLIT, f"is of another run than {CONFIG}", SPLIT)
    rows = {part: np.array(getattr(found, part), dtype=np.int64) for part in PARTS}
    for part, of_part in rows.items():
        if not len(of_part) or of_part.max() >= len(store.rows):
            raise damaged(run / SPLIT, f"{part}: rows that the store does not have")
    return Split(rows, found.leakage.model_dump())


def read_rows(run: Path, part: str, store: PDFStore) -> np.ndarray:
    """Rows of a part of the run's split, as `read_split` has them."""
    if part not in PARTS:
        raise ValueError(f"split {part!r} is not one of {', '.join(PARTS)}")
    return read_split(run, store).rows[part]


def read_leakage(run: Path) -> dict[str, Any]:
    """What the parts of the run's split share, as `train.data.leakage.Split` has it."""
    return _read_split(run).leakage.model_dump()


def _read_split(run: Path) -> SplitRows:
    return read_content(run / SPLIT, SplitRows, LARGE)


def read_metrics(run: Path) -> dict[str, Any]:
    """The final scores of a finished run."""
    return read_content(run / METRICS, Metrics).model_dump(exclude_unset=True)


def read_history(run: Path) -> list[dict[str, float]]:
    """The records of the epochs so far; of a run with a model there is at least one."""
    path = run / HISTORY
    if not path.exists() and not (run / MODEL).exists():
        return []
    lines = read_bytes(path, LARGE).splitlines()
    if not lines and (run / MODEL).exists():
        raise damaged(path, "it is empty")
    return [
        parse(line, Epoch, path, f"line {number}").model_dump()
        for number, line in enumerate(lines, 1)
    ]


def best_epoch(history: list[dict[str, float]]) -> dict[str, float]:
    """The record with the highest validation accuracy, at equal accuracy the lowest loss."""
    return max(history, key=lambda record: (record["val_accuracy"], -record["val_loss"]))


def save_model(run: Path, state: dict[str, torch.Tensor]) -> None:
    write_atomically(run / MODEL, lambda path: path.write_bytes(save(state)))


def load_model(run: Path, device: torch.device | str = "cpu") -> tuple[Model, RunConfig]:
    """The best model of a run, in evaluation mode, and the run's configuration."""
    config = read_config(run)
    recipe = config.recipe
    model = build_model(recipe.model, config.r, len(config.classes), dropout=recipe.dropout)
    if not (run / MODEL).exists() and not (run / METRICS).exists():
        raise ValueError(f"{run} has no {MODEL} yet; train for at least one epoch")
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(read_tensors(run / MODEL, shapes))
    return model.eval().to(device), config


def save_snapshot(run: Path, token: str, state: dict[str, Any]) -> None:
    content = {"format": SNAPSHOT_FORMAT, "run": token, **state}
    write_atomically(run / SNAPSHOT, lambda path: torch.save(content, path))


def load_snapshot(
    run: Path,
    token: str,
    device: torch.device,
    restore: Callable[[dict[str, Any]], object] = lambda state: None,
) -> dict[str, Any] | None:
    """The snapshot, read without executing pickled code; None if there is none.

    Args:
        restore: takes the state up; what it raises tells of damage as well.

    Raises:
        ValueError: it is damaged, of another run, or of another version.
    """
    path = run / SNAPSHOT
    if not path.exists():
        return None
    try:
        with open_regular(path) as file:
            with zipfile.ZipFile(file) as archive:  # torch itself doesn't look at the checksums
                if broken := archive.testzip():
                    raise ValueError(broken)
            file.seek(0)
            state = torch.load(file, map_location=device, weights_only=True)
        found = state.pop("format"), state.pop("run")
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # damaged bytes lead to errors of many kinds
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    if found[0] != SNAPSHOT_FORMAT:
        raise unusable(path, "is of another version of defectpdf")
    if found[1] != token:
        raise unusable(path, f"is of another run than {CONFIG}")
    try:
        Snapshot.model_validate(state)
        restore(state)
    except ValidationError as error:
        raise damaged(path, first_mistake(error)) from None
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    return state


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def require_place(path: Path) -> None:
    """ValueError if no file can be written there: no such folder, or something else is there."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file: give the name of one")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}; make it first")


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Have the whole file there or none of it; ValueError as of `require_place`."""
    require_place(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
