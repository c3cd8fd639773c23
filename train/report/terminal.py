"""What commands print for a reader where a problem has no form of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from hpc.watching.console import plain_console


def print_numbers(content: Mapping[str, Any], title: str) -> None:
    """All numbers of nested content, by their place in it."""
    table = Table(title=title, box=SIMPLE)
    table.add_column("score")
    table.add_column("value", justify="right")
    for name, value in _numbers(content, ""):
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    plain_console().print(table)


def _numbers(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, int | float]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}, ")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", value
