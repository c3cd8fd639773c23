"""The files of a run directory by name, and how they are read.

A file that is missing, damaged or something else ends in a ValueError that names it and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load

from pdfcalc.reading import SMALL, UnusableFile, read_file

CONFIG, HISTORY, METRICS = "config.json", "metrics.jsonl", "metrics.json"
SPLIT, SPLIT_ROWS = "split.json", "split.safetensors"
MODEL, SNAPSHOT = "model.safetensors", "snapshot.pt"
CALIBRATION, FAMILIARITY = "calibration.json", "familiarity.safetensors"
WRITTEN = (SPLIT, SPLIT_ROWS, HISTORY, MODEL, SNAPSHOT, CALIBRATION, FAMILIARITY)
"""While a run is trained."""

LARGE = 2**30
"""Bytes; most of what grows with the store or the network."""

_REMEDIES = {
    CONFIG: "put it back, or train again into another --out",
    SNAPSHOT: "delete it to start the run again",
}

Content = TypeVar("Content", bound=BaseModel)


def unusable(path: Path, why: str, *to_remove: str) -> ValueError:
    """The error that a file of a run is not what it should be; `why` follows its name."""
    if remedy := _REMEDIES.get(path.name):
        return ValueError(f"{path} {why}: {remedy}")
    # Until a run has its metrics, `train` goes on with it.
    names = {*to_remove, *([] if path.name in (SPLIT, SPLIT_ROWS) else [METRICS])}
    first = f"remove {' and '.join(sorted(names))}, then " if names else ""
    return ValueError(
        f"{path} {why}: {first}run the same `defectpdf train` again, which makes it anew"
    )


def damaged(path: Path, how: object) -> ValueError:
    """The error that what a file of a run holds makes no sense."""
    return unusable(path, f"is damaged ({' '.join(str(how).split())})", path.name)


def missing(path: Path) -> ValueError:
    """The error that a file of a run is not there."""
    return unusable(path, "is missing")


def read_content(path: Path, content: type[Content], largest: int = SMALL) -> Content:
    """What a JSON file of a run holds.

    Args:
        largest: bytes that it may have.
    """
    return parse(read_bytes(path, largest), content, path)


def parse(text: bytes, content: type[Content], path: Path, place: str = "") -> Content:
    """What JSON text from the file `path` says; `place` tells where in the file it stands."""
    try:
        return content.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, filter(None, (place, *first["loc"]))))
        message = first["msg"].removeprefix("Value error, ")
        raise damaged(path, f"{at}: {message}" if at else message) from None


def read_tensors(
    path: Path, shapes: Mapping[str, tuple[int | None, ...]]
) -> dict[str, torch.Tensor]:
    """The tensors that a safetensors file must hold; sizes that are None may be any from 1."""
    try:
        found = load(read_bytes(path, LARGE))
    except SafetensorError as error:
        raise damaged(path, error) from None
    for name, shape in shapes.items():
        if name not in found:
            raise damaged(path, f"it has no {name}")
        own = tuple(found[name].shape)
        fits = len(own) == len(shape) and all(
            size >= 1 if wanted is None else size == wanted
            for size, wanted in zip(own, shape, strict=True)
        )
        if not fits or not torch.isfinite(found[name]).all():
            what = "has values that are not finite" if fits else f"has the shape {own}"
            raise damaged(path, f"{name} {what}")
    if unknown := found.keys() - shapes.keys():
        raise damaged(path, f"{min(unknown)} is of another version")
    return found


def read_bytes(path: Path, largest: int) -> bytes:
    """The content of a file of a run."""
    try:
        return read_file(path, largest)
    except (FileNotFoundError, NotADirectoryError):
        raise missing(path) from None
    except UnusableFile as error:
        raise damaged(path, error.strerror) from None
