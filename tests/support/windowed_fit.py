"""A fit with a window, alone or under torchrun, and how much of the traces each process reads.

torchrun --nproc-per-node=2 windowed_fit.py STORE RUN WINDOW EPOCHS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import train.data.sources
import train.fitting.loop
from train.problems.defects.recipes import make_recipe
from train.setup.distributed import join_world


def main(store: Path, run: Path, window: int, epochs: int) -> None:
    train.fitting.loop.window_of = lambda *_: window
    train.data.sources.fits_in_memory = lambda *_: False
    choices = {"epochs": epochs, "batch_size": 32, "deterministic": True}
    shards: list[np.ndarray] = []
    read_ahead = train.data.sources.read_ahead

    def counted(shares, read, shape, shard):
        def read_and_count(structures: np.ndarray) -> np.ndarray:
            shards.append(np.unique(structures // shard))
            return read(structures)

        return read_ahead(shares, read_and_count, shape, shard)

    train.data.sources.read_ahead = counted
    with join_world() as world:
        train.fitting.loop.fit(store, run, make_recipe("default", choices), "row", 0, world)
        np.save(run.with_name(f"{run.name}-{world.rank}.npy"), np.concatenate(shards))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
