"""`torchrun --nproc-per-node=N -m train STORE --out RUN`, or `python -m train` for one process."""

from __future__ import annotations

import os
import sys

import typer

from train.commands import train


def main() -> None:
    try:
        typer.run(train)
    except (ValueError, OSError, ImportError) as error:
        # Every process meets the same mistake; one line is enough.
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
