"""The console that tables, lines and bars are printed on.

Paths, ids and names of classes come from users. rich would take [bold] or :name: in them for
markup, leave it out, and fail at what it can't take for any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def plain_console(
    *,
    stderr: bool = False,
    quiet: bool = False,
    soft_wrap: bool = False,
    width: int | None = None,
) -> Console:
    """A console that prints all text as it is: lines, and the titles, heads and cells of tables."""
    from rich.console import Console

    return Console(
        stderr=stderr,
        quiet=quiet,
        soft_wrap=soft_wrap,
        width=width,
        markup=False,
        emoji=False,
        highlight=False,
    )
