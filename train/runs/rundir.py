"""The run directory: configuration, split, metrics, best model, snapshot.

Every file is written beside its place and renamed, so a reader or a killed run never sees half.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from train.data.leakage import Split
from train.data.splits import PARTS
from train.data.store import PDFStore
from train.models import Model, build_model
from train.problems.defects.inputs import PairInput
from train.setup.recipes import Recipe

CONFIG, SPLIT, HISTORY, METRICS = "config.json", "split.json", "metrics.jsonl", "metrics.json"
MODEL, SNAPSHOT = "model.safetensors", "snapshot.pt"
SNAPSHOT_FORMAT = 3


class RunConfig(BaseModel):
    """What a run is; a run continues only under an equal `choices`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    split: str
    seed: int
    store: str
    fingerprint: str
    input_hash: str | None = None
    """Of the store's run description and hosts; None where it has none."""
    classes: tuple[str, ...]
    r: tuple[float, ...]
    instrument: dict[str, Any] | None
    """[pdf] of the store's run description; None where it has none."""
    window: int | None
    """Hosts in memory at once while training; None for all. It decides the order of the rows."""
    versions: dict[str, str]

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
        if stray := sorted(path.name for path in run.iterdir()):
            raise ValueError(f"{run} is not a run and not empty ({stray[0]}); choose another --out")
    if not _has_begun(run):  # one that was refused after this leaves no choices behind
        write_json(run / CONFIG, config.model_dump(mode="json"))
        content = {"kind": config.split, "seed": config.seed, "leakage": split.leakage}
        rows = {name: split.rows[name].tolist() for name in PARTS}
        write_text(run / SPLIT, json.dumps(content | rows))


def _has_begun(run: Path) -> bool:
    return any((run / name).exists() for name in (SNAPSHOT, HISTORY, MODEL))


def read_config(run: Path) -> RunConfig:
    try:
        return RunConfig.model_validate_json((run / CONFIG).read_text())
    except FileNotFoundError as error:
        raise ValueError(f"{run} is not a run directory: it has no {CONFIG}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        where = f"{run / CONFIG}: {place}" if place else f"{run / CONFIG}"
        raise ValueError(f"{where}: {first['msg']}") from error


def read_rows(run: Path, part: str, store: PDFStore) -> np.ndarray:
    """Rows of a part of the run's split, after checking that `store` is what was split."""
    if part not in PARTS:
        raise ValueError(f"split {part!r} is not one of {', '.join(PARTS)}")
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
    return np.array(read_json(run / SPLIT)[part], dtype=np.int64)


def read_leakage(run: Path) -> dict[str, Any]:
    """What the parts of the run's split share, as `train.data.leakage.Split` has it."""
    content = read_json(run / SPLIT)
    if "leakage" not in content:
        raise ValueError(f"{run} was trained before splits were checked for leaks; train it again")
    return content["leakage"]


def read_history(run: Path) -> list[dict[str, float]]:
    path = run / HISTORY
    if not path.exists():
        return []
    return [_parsed(line, path) for line in path.read_text(encoding="utf-8").splitlines()]


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
    try:
        model.load_state_dict(load_file(run / MODEL))
    except FileNotFoundError as error:
        raise ValueError(f"{run} has no {MODEL} yet; train for at least one epoch") from error
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{run / MODEL} is damaged or of another version: {error}") from error
    return model.eval().to(device), config


def save_snapshot(run: Path, token: str, state: dict[str, Any]) -> None:
    content = {"format": SNAPSHOT_FORMAT, "run": token, **state}
    # In memory first: torch's own writer has no word for a full disk.
    serialised = io.BytesIO()
    torch.save(content, serialised)
    write_atomically(run / SNAPSHOT, lambda path: path.write_bytes(serialised.getbuffer()))


def load_snapshot(run: Path, token: str, device: torch.device) -> dict[str, Any] | None:
    """The snapshot, read without executing pickled code; None if there is none.

    Raises:
        ValueError: it is damaged, of another run, or of another version.
    """
    path = run / SNAPSHOT
    if not path.exists():
        return None
    remedy = f"delete it to start {run} again"
    try:
        with zipfile.ZipFile(path) as file:  # torch itself doesn't look at the checksums
            if damaged := file.testzip():
                raise ValueError(damaged)
        state = torch.load(path, map_location=device, weights_only=True)
        found = state.pop("format"), state.pop("run")
    except Exception as error:  # damaged bytes lead to errors of many kinds
        raise ValueError(f"{path} is damaged ({type(error).__name__}); {remedy}") from error
    if found[0] != SNAPSHOT_FORMAT:
        raise ValueError(f"{path} is of another version of defectpdf; {remedy}")
    if found[1] != token:
        raise ValueError(f"{path} is of another run, not of {run / CONFIG}; {remedy}")
    return state


def read_json(path: Path) -> Any:
    """ValueError that names the file if it is damaged."""
    return _parsed(path.read_text(encoding="utf-8"), path)


def _parsed(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged ({error})") from error


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def append_text(path: Path, text: str) -> None:
    """Have all of the text at the end of a file, or none of it and an OSError."""
    with naming(path), path.open("ab") as file:
        before = file.tell()
        try:
            file.write(text.encode())
            file.flush()
        except OSError:
            os.ftruncate(file.fileno(), before)
            raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an OSError, such as that of a full disk, name what is being written."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def require_place(path: Path) -> None:
    """ValueError if no file can be written there: no such folder, or something else is there."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file: give the name of one")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}; make it first")


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Have the whole file there or none of it; ValueError as of `require_place`, or OSError."""
    require_place(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with naming(path):
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
