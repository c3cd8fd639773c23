"""`python -m train STORE --out RUN`: one process, alone or of `defectpdf launch` or torchrun."""

from __future__ import annotations

import os
import sys

import typer

from train.commands import train
from train.setup.endings import (
    LOST,
    MISTAKE,
    MISTAKES,
    ProcessesLost,
    follow_launcher,
    one_line,
    say_and_exit,
    say_warnings,
)


def main() -> None:
    follow_launcher()
    say_warnings()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(train)
    try:
        sys.exit(app(standalone_mode=False))
    except MISTAKES as error:
        if os.environ.get("DEFECTPDF_TRACEBACK"):
            raise
        say_and_exit(f"error: {one_line(error)}", MISTAKE)
    except ProcessesLost as error:
        say_and_exit(f"process {os.environ.get('RANK')}: {error}", LOST)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)


if __name__ == "__main__":
    main()
