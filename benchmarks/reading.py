"""Reading a store larger than memory for two training processes: their own shards against all.

    python -m benchmarks.reading

`lanes` is what `train` does: a process reads the shards of its lanes, the next window's while the
present one trains. In `rows` a process takes every second row of each batch, wherever it lies, and
reads a window when it comes to it. Inside the clock is an epoch, of the slower process; a step is a
wait of fixed length, as for a GPU, so that only the reading differs. There are no gradients to
exchange. Bytes are those that a process reads from files, as the system counts them.
"""

from __future__ import annotations

import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import zarr

from benchmarks.common import Tables, in_turn, median_and_range, read_options, report
from train.data.order import EpochOrder
from train.data.reading import Share, read_ahead

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROCESSES, BATCH, VARIANTS, POINTS, SHARD = 2, 64, 13, 300, 8
STEP_SECONDS = 0.002
EPOCH = "An epoch of two processes"


class Epoch(NamedTuple):
    seconds: float
    mebibytes: float  # read by a process, the larger of both


def write_store(path: Path, n_hosts: int) -> None:
    random = np.random.default_rng(0)
    g = zarr.create_array(
        path,
        shape=(n_hosts, VARIANTS, POINTS),
        chunks=(SHARD, VARIANTS, POINTS),
        shards=(SHARD, VARIANTS, POINTS),
        dtype="f4",
    )
    for start in range(0, n_hosts, SHARD):
        g[start : start + SHARD] = random.normal(size=(SHARD, VARIANTS, POINTS))


def own_shards(order: EpochOrder, host: np.ndarray, rank: int) -> Iterator[Share]:
    for window in order.windows(0):
        held = np.concatenate([window.held[lane] for lane in order.lanes_of(rank, PROCESSES)])
        rows = window.rows[:, order.columns_of(rank, PROCESSES)]
        yield Share(rows, np.unique(host[held]))


def every_second_row(order: EpochOrder, host: np.ndarray, rank: int) -> Iterator[Share]:
    random = np.random.default_rng(0)
    for window in order.windows(0):
        rows = random.permutation(window.rows.ravel()).reshape(window.rows.shape)
        rows = rows[:, rank::PROCESSES]
        yield Share(rows, np.unique(host[rows]))


def epoch_of_process(path: Path, way: str, rank: int) -> Epoch:
    g: Any = zarr.open_array(path, mode="r")
    label = np.ones(g.shape[:2], bool)
    label[:, 0] = False
    store: Any = SimpleNamespace(rows=np.argwhere(label), block_size=SHARD)
    host = store.rows[:, 0]
    order = EpochOrder(store, np.arange(len(host)), BATCH, 0, g.shape[0] // 4)

    def read(structures: np.ndarray) -> dict[str, np.ndarray]:
        return {"g": np.asarray(g.oindex[structures])}

    def train(share: Share) -> None:
        for _ in share.rows:
            time.sleep(STEP_SECONDS)

    before, started = bytes_read(), time.perf_counter()
    if way == "lanes":
        like = {"g": np.empty((0, *g.shape[1:]), g.dtype)}
        for share, _ in read_ahead(own_shards(order, host, rank), read, like, SHARD):
            train(share)
    else:
        for share in every_second_row(order, host, rank):
            read(share.structures)
            train(share)
    seconds = time.perf_counter() - started
    return Epoch(seconds, (bytes_read() - before) / 2**20)


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def epoch(_: int, pool: ProcessPoolExecutor, path: Path, way: str) -> Epoch:
    both = list(pool.map(epoch_of_process, [path] * 2, [way] * 2, range(PROCESSES)))
    return Epoch(*map(max, zip(*both, strict=True)))


def measure(options: Namespace) -> Tables:
    n_hosts = 512 if options.quick else 8192
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool,
    ):
        path = Path(folder) / "traces.zarr"
        write_store(path, n_hosts)
        ways = {way: partial(epoch, pool=pool, path=path, way=way) for way in ("rows", "lanes")}
        found = in_turn(ways, options.runs)
    return {
        EPOCH: [
            {
                "way": way,
                "hosts": n_hosts,
                **median_and_range("seconds", [run.seconds for run in found[way]]),
                "MiB read by a process": median(run.mebibytes for run in found[way]),
            }
            for way in ways
        ]
    }


def draw(tables: Tables) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.5), layout="constrained")
    names = [row["way"] for row in tables[EPOCH]]
    columns = "seconds", "MiB read by a process"
    for axes, column in zip(figure.subplots(1, 2), columns, strict=True):
        axes.barh(names, [row[column] for row in tables[EPOCH]])
        axes.set(xlabel=column)
    return figure


def main() -> None:
    options = read_options(__doc__ or "", runs=3)
    tables = measure(options)
    rows, lanes = tables[EPOCH]
    notes = [
        f"lanes take {lanes['seconds'] / rows['seconds']:.2f} of the time and read "
        f"{lanes['MiB read by a process'] / rows['MiB read by a process']:.2f} of the bytes"
    ]
    report("reading", options, tables, notes, draw)


if __name__ == "__main__":
    main()
