"""Whether a store's samples have their atoms on sites, as fresh draws have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def require_sites(path: Path, description: Any) -> None:
    """ValueError if stages have changed a store's samples, which no fresh draw would show.

    Args:
        description: of the store's run, as a file has it.
    """
    if stages := list(_stages_of(description)):
        raise ValueError(
            f"{path}: its samples were changed by {', '.join(stages)}, and fresh draws have their "
            "atoms on sites: take the store's own variants (train --draws store)"
        )


def _stages_of(description: Any) -> Iterator[str]:
    """By name, those that stored atoms went through before as well."""
    origin = description.get("source", {}).get("store", {}).get("origin")
    if origin:
        yield from _stages_of(origin)
    yield from (stage["name"] for stage in description.get("stage", ()))
