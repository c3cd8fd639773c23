"""The `defectpdf` command. It stands here because `train` is the end of the chain of imports."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

import defectgen.commands
import hpc.commands
import train.commands
from hpc.limits import remedy_of, require_room_to_start
from train.setup.endings import MISTAKES, one_line, say_warnings
from train.setup.launch import launch

app = typer.Typer(
    help="Which point defect is in this metal? PDFs of defective crystals at scale, and a "
    "network that tells them apart.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    defectgen.commands.library,
    hpc.commands.generate,
    hpc.commands.status,
    hpc.commands.verify,
    hpc.commands.export,
    defectgen.commands.pdf,
    train.commands.train,
    train.commands.evaluate,
    train.commands.analyse,
    train.commands.predict,
    train.commands.refine,
    train.commands.baselines,
    train.commands.robustness,
    train.commands.explain,
    train.commands.report,
    train.commands.export_model,
):
    app.command()(command)
# From the first word that is not an option of its own, all are the training's.
app.command(context_settings={"allow_interspersed_args": False})(launch)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"defectpdf {version('defectpdf')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    require_room_to_start()


def main() -> None:
    """Run the command; a mistake of the user ends in one line and exit code 2."""
    os.umask(os.umask(0o077) | 0o002)  # nothing that we write is writable by everyone
    say_warnings()
    try:
        sys.exit(app(standalone_mode=False))
    except MISTAKES as error:
        if os.environ.get("DEFECTPDF_TRACEBACK"):
            raise
        print(f"defectpdf: error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        if not remedy_of(error):
            raise
        print(f"defectpdf: error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
