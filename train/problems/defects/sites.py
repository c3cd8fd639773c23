"""Whether a store's samples are what fresh draws are: atoms on sites, seen by one instrument."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def require_sites(path: Path, description: Any) -> None:
    """ValueError if stages or instruments have changed a store's samples as no fresh draw shows.

    Args:
        description: of the store's run, as a file has it.
    """
    if stages := list(_stages_of(description)):
        raise ValueError(
            f"{path}: its samples were changed by {', '.join(stages)}, and fresh draws have their "
            "atoms on sites: take the store's own variants (train --draws store)"
        )
    if description.get("pdf", {}).get("instruments"):
        raise ValueError(
            f"{path}: each of its hosts has an instrument of its own, and fresh draws have one: "
            "take the store's own variants (train --draws store)"
        )


def _stages_of(description: Any) -> Iterator[str]:
    """By name, those that stored atoms went through before as well."""
    origin = description.get("source", {}).get("store", {}).get("origin")
    if origin:
        yield from _stages_of(origin)
    yield from (stage["name"] for stage in description.get("stage", ()))
