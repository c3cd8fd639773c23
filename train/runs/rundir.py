"""The run directory: configuration, split, metrics, best model, snapshot.

Every file is written beside its place and renamed, so a reader or a killed run never sees half.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    model_validator,
)
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from safetensors.torch import save
from torch import nn

from hpc.description import first_mistake
from pdfcalc.files import require_place, write_atomically
from pdfcalc.reading import open_regular, require_regular
from train.data.examples import Examples
from train.data.leakage import Split
from train.data.order import WINDOWED_ORDER
from train.data.splits import PARTS
from train.problems import Problem, find_problem
from train.run_files import (
    CONFIG,
    HISTORY,
    LARGE,
    METRICS,
    MODEL,
    SNAPSHOT,
    SPLIT,
    SPLIT_ROWS,
    WRITTEN,
    damaged,
    missing,
    parse,
    read_bytes,
    read_content,
    read_tensors,
    unusable,
)
from train.runs.contents import Epoch, Leakage, Metrics, Snapshot, SplitContent
from train.setup.recipes import Recipe

SNAPSHOT_FORMAT = 3


def _problem_of(fields: Any) -> Any:
    """The problem of some name from its fields."""
    if not isinstance(fields, dict):
        return fields
    if not isinstance(name := fields.get("name"), str):
        raise ValueError("it has no name")
    try:
        return find_problem(name).model_validate_json(json.dumps(fields), strict=True)
    except ValidationError as error:
        raise ValueError(first_mistake(error)) from None


class RunConfig(BaseModel):
    """What a run is; a run continues only under an equal `choices`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problem: Annotated[SerializeAsAny[Problem], BeforeValidator(_problem_of)]
    """With the recipe and all that it knows of the store."""
    split: str
    split_meaning: str
    split_leaks: bool
    seed: NonNegativeInt
    store: str = Field(min_length=1)
    fingerprint: str
    input_hash: str | None
    """Of the store's run description and hosts; None where it has none."""
    description: dict[str, Any]
    """The store's run description; empty where it has none."""
    window: PositiveInt | None
    """Hosts in memory at once while training; None for all. It decides the order of the rows."""
    versions: dict[str, str]

    @model_validator(mode="before")
    @classmethod
    def _of_this_version(cls, values: Any) -> Any:
        if isinstance(values, dict) and "recipe" in values and "problem" not in values:
            raise ValueError("it is of an older version of defectpdf")
        return values

    @property
    def recipe(self) -> Recipe:
        return self.problem.recipe

    @classmethod
    def of(
        cls, problem: Problem, examples: Examples, split: str, seed: int, window: int | None
    ) -> RunConfig:
        """ValueError if the problem has no such split."""
        packages, grouping = ("torch", "numpy", "zarr"), examples.grouping(split)
        return cls(
            problem=problem,
            split=split,
            split_meaning=grouping.meaning,
            split_leaks=grouping.leaks,
            seed=seed,
            store=str(examples.path.resolve()),
            fingerprint=examples.fingerprint,
            input_hash=examples.data.attributes.get("input_hash"),
            description=examples.data.description,
            window=window,
            versions={"python": platform.python_version()} | {p: version(p) for p in packages},
        )

    @property
    def choices(self) -> dict[str, Any]:
        chosen: dict[str, Any] = {"problem": self.problem.name, "split": self.split}
        chosen |= {"seed": self.seed, "store ids": self.fingerprint[:12]}
        if self.input_hash:
            chosen["store inputs"] = self.input_hash[:12]
        recipe = self.recipe.model_dump(mode="json")
        return chosen | {f"recipe {key}": value for key, value in recipe.items()}

    @property
    def token(self) -> str:
        """Hash of the choices and the order of rows: what a snapshot must be of."""
        content = self.choices | {"window": self.window}
        if self.window is not None:
            content["order"] = WINDOWED_ORDER
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def prepare_run(run: Path, config: RunConfig, make_split: Callable[[], Split]) -> None:
    """Begin a run directory, or see that the one that exists is of the same choices.

    Args:
        make_split: called only if the directory does not have the split yet.
    """
    differing = []
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
    elif _has_begun(run):
        raise missing(run / CONFIG)
    elif run.exists() and (stray := sorted(path.name for path in run.iterdir())):
        raise ValueError(f"{run} is not a run and not empty ({stray[0]}); choose another --out")
    has_split = (run / SPLIT).exists() and (run / SPLIT_ROWS).exists()
    split = None if has_split and not differing else make_split()
    run.mkdir(parents=True, exist_ok=True)
    if not (run / METRICS).exists():
        for name in WRITTEN:  # now, not after hours of training
            require_place(run / name)
    if split:
        (run / SPLIT).unlink(missing_ok=True)  # one of other choices, should this be cut off
    if not _has_begun(run):  # one that was refused after this leaves no choices behind
        write_json(run / CONFIG, config.model_dump(mode="json"))
    if split:
        _write_split(run, config, split)


def _write_split(run: Path, config: RunConfig, split: Split) -> None:
    arrays = split.rows | {"signatures": split.signatures}
    require_place(run / SPLIT_ROWS)
    write_atomically(run / SPLIT_ROWS, lambda path: save_file(arrays, path))
    rows = {"file": SPLIT_ROWS, "sha256": _digest_of_rows(split.rows)}
    content = {"kind": config.split, "seed": config.seed, "rows": rows, "leakage": split.leakage}
    write_json(run / SPLIT, content)


def read_split(run: Path) -> Split:
    """The run's split; signatures stay on disk until they are used.

    Raises:
        ValueError: as all functions here that read, a file is missing, damaged or of another
            version; the message names it and says what to do.
    """
    content, path = _split_content(run), run / SPLIT_ROWS
    try:
        require_regular(path)
        with safe_open(path, "pt") as file:
            arrays = {name: file.get_tensor(name).numpy() for name in (*PARTS, "signatures")}
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path) from None
    except (SafetensorError, OSError) as error:
        raise damaged(path, getattr(error, "strerror", None) or error) from None
    signatures = arrays.pop("signatures")
    if signatures.ndim != 2 or signatures.dtype != np.float32:
        raise damaged(path, f"signatures are {signatures.dtype} of the shape {signatures.shape}")
    if {a.dtype for a in arrays.values()} != {np.dtype(np.int64)}:
        raise damaged(path, "rows are not whole numbers")
    if _digest_of_rows(arrays) != content.rows.sha256:
        raise unusable(path, f"is damaged or not that of {SPLIT}", SPLIT, SPLIT_ROWS)
    return Split(arrays, _as_made(content.leakage), signatures)


def read_leakage(run: Path) -> dict[str, Any]:
    """What the parts of the run's split share, as `train.data.leakage.Split` has it."""
    return _as_made(_split_content(run).leakage)


def _as_made(leakage: Leakage) -> dict[str, Any]:
    return leakage.model_dump(exclude_none=True)


def _split_content(run: Path) -> SplitContent:
    content, config = read_content(run / SPLIT, SplitContent), read_config(run)
    if (content.kind, content.seed) != (config.split, config.seed):
        raise unusable(run / SPLIT, f"is of another run than {CONFIG}", SPLIT)
    return content


def _digest_of_rows(rows: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for part in PARTS:
        digest.update(np.ascontiguousarray(rows[part]).data)
    return digest.hexdigest()


def _has_begun(run: Path) -> bool:
    return any((run / name).exists() for name in (SNAPSHOT, HISTORY, MODEL))


def read_config(run: Path) -> RunConfig:
    """What a run is; ValueError also if `run` is no run directory."""
    path = run / CONFIG
    if not path.exists() and not _has_begun(run):
        raise ValueError(f"{run} is not a run directory: it has no {CONFIG}")
    return read_content(path, RunConfig)


def read_rows(run: Path, part: str, examples: Examples) -> np.ndarray:
    """Rows of a part of the run's split, after checking that `examples` are what was split."""
    if part not in PARTS:
        raise ValueError(f"split {part!r} is not one of {', '.join(PARTS)}")
    config = read_config(run)
    if config.fingerprint != examples.fingerprint:
        raise ValueError(
            f"{examples.path} is not the store that {run} was trained on ({config.store}): "
            "its structure ids or labels differ, so the split does not apply"
        )
    return read_split(run).rows[part]


def read_metrics(run: Path) -> dict[str, Any]:
    """The final scores of a finished run."""
    path, problem = run / METRICS, read_config(run).problem
    metrics = read_content(path, Metrics).model_dump()
    for part in ("val", "test"):
        try:
            problem.summary(metrics[part])
        except (LookupError, TypeError, ValueError) as error:
            raise damaged(path, f"{part}: {type(error).__name__}: {error}") from None
    return metrics


def read_history(run: Path) -> list[dict[str, float]]:
    """The records of the epochs so far; of a run with a model there is at least one."""
    path, problem = run / HISTORY, read_config(run).problem
    if not path.exists() and not (run / MODEL).exists():
        return []
    lines = read_bytes(path, LARGE).splitlines()
    if not lines and (run / MODEL).exists():
        raise damaged(path, "it is empty")
    history: list[dict[str, float]] = []
    for number, line in enumerate(lines, 1):
        record = parse(line, Epoch, path, f"line {number}").model_dump()
        try:
            problem.merit(record)
        except LookupError as error:
            raise damaged(path, f"line {number} has no {error.args[0]}") from None
        if history and record.keys() != history[0].keys():
            raise damaged(path, f"line {number} has other scores than line 1")
        history.append(record)
    return history


def best_epoch(history: list[dict[str, float]], problem: Problem) -> dict[str, float]:
    """The first record of the most merit."""
    return max(history, key=problem.merit)


def save_model(run: Path, state: dict[str, torch.Tensor]) -> None:
    write_atomically(run / MODEL, lambda path: path.write_bytes(save(state)))


def load_model(run: Path, device: torch.device | str = "cpu") -> tuple[nn.Module, RunConfig]:
    """The best model of a run, in evaluation mode, and the run's configuration."""
    config = read_config(run)
    model = config.problem.model()
    if not (run / MODEL).exists() and not (run / METRICS).exists():
        raise ValueError(f"{run} has no {MODEL} yet; train for at least one epoch")
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(read_tensors(run / MODEL, shapes))
    return model.eval().to(device), config


def save_snapshot(run: Path, token: str, state: dict[str, Any]) -> None:
    content = {"format": SNAPSHOT_FORMAT, "run": token, **state}
    # In memory first: torch's own writer has no word for a full disk.
    serialised = io.BytesIO()
    torch.save(content, serialised)
    write_atomically(run / SNAPSHOT, lambda path: path.write_bytes(serialised.getbuffer()))


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
    """Write a file at a place that a user may have chosen; ValueError as of `require_place`."""
    require_place(path)
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))
