"""Options of the commands that refine a crystal against measured PDFs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

Found = TypeVar("Found")
Measured = Annotated[list[Path], typer.Argument(help="Measured PDFs of one crystal, .gr.")]
RMin = Annotated[float | None, typer.Option(help="First r to fit, A.")]
RMax = Annotated[float | None, typer.Option(help="Last r to fit, A.")]
QMin = Annotated[float | None, typer.Option(help="In place of the file's, 1/A.")]
QMax = Annotated[float | None, typer.Option(help="In place of the file's, 1/A.")]
QDamp = Annotated[float | None, typer.Option(help="Start or, fixed, value, 1/A.")]
QBroad = Annotated[float | None, typer.Option(help="Start or, fixed, value, 1/A.")]
Scale = Annotated[float | None, typer.Option(help="Start or, fixed, value.")]
Scattering = Annotated[str | None, typer.Option(help="xray or neutron.")]
Fix = Annotated[
    list[str] | None,
    typer.Option(metavar="scale|cell|uiso|qdamp|qbroad|delta2", help="Keep it; repeatable."),
]


def given(**stated: Any) -> dict[str, Any]:
    """Those of the options that were given."""
    return {name: value for name, value in stated.items() if value is not None}


def prepare(folder: Path, files: list[Path]) -> None:
    """Make a folder for what is written of each file, by its name.

    Raises:
        ValueError: two files would have the same name there.
    """
    by_stem: dict[str, Path] = {}
    for file in files:
        if (first := by_stem.setdefault(file.stem, file)) is not file:
            raise ValueError(f"{first} and {file} would both be {file.stem}.svg in --out")
    folder.mkdir(parents=True, exist_ok=True)


def usable(results: Iterable[Found | ValueError]) -> Iterator[Found]:
    """What was found in each file. What is wrong with some is told, and ends in exit code 2."""
    failed = False
    for found in results:
        if isinstance(found, ValueError):
            failed = True
            typer.echo(f"defectpdf: error: {found}", err=True)
        else:
            yield found
    if failed:
        raise typer.Exit(2)
