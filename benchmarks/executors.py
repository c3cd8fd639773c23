"""What the engines add to the computing: the cost of handing out a task, and two workers over one.

A task that does nothing costs what its way to a worker and back costs. The processor time of the
process that deals out (with Dask, client and scheduler) says how many tasks a second it can keep
going for any number of workers; MPI's spends more, as it looks for messages all the time. The order
to the computing process is that of a task that turns out to be done: a line of JSON each way and a
look at its record.

Scaling is of `defectpdf generate` on a library of strained copies of the embedded one. The rate is
what the command says at its end, from the library to the last shard; the wall time has the start-up
of all processes too. One worker and two take turns; the ratio is that of two neighbours in time.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import Row, Tables, in_turn, median_and_range, option_parser, report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DISPATCH, SCALING = "tasks that do nothing", "defectpdf generate"
"""Titles of the tables."""
HOSTS_PER_SHARD = 64
_BIN = Path(sys.executable).parent


def launch(engine: str, workers: int) -> list[str]:
    """The start of a command line that gives an MPI engine its ranks, one of which deals out."""
    return [str(_BIN / "mpiexec"), "-n", str(workers + 1)] if engine == "mpi" else []


def dispatch(run: int, engine: str, workers: int, tasks: int) -> tuple[float, float]:
    """ms a task, and of them those of the processor in the process that deals out."""
    command = [sys.executable, "-m", "benchmarks.dispatch", engine, str(workers), str(tasks)]
    output = subprocess.run(
        launch(engine, workers) + command, check=True, stdout=subprocess.PIPE
    ).stdout
    wall, cpu = json.loads(output)
    return 1e3 * wall / tasks, 1e3 * cpu / tasks


def generate(run: int, engine: str, workers: int, description: Path) -> tuple[float, float]:
    """Seconds of a whole process that makes a store, and the PDFs a second that it says."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*launch(engine, workers), str(_BIN / "defectpdf"), "generate", str(description)]
        command += ["--store", f"{folder}/metals.zarr", "--engine", engine]
        if engine == "dask":
            command += ["--workers", str(workers)]
        started = time.perf_counter()
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        wall = time.perf_counter() - started
    rate = re.search(r"\((\d+)/s\)", out)
    assert rate is not None, out
    return wall, float(rate[1])


def write_library(folder: Path, n_hosts: int) -> Path:
    """A run description of `n_hosts` hosts: the embedded ones, and copies with other cells.

    Those have another c/a too, where there is one: what was found for a host serves no other.
    """
    from defectgen.hosts.library import embedded_library, write_library

    embedded = embedded_library()
    hosts = []
    for number in range(n_hosts):
        host, strain = embedded[number % len(embedded)], 1e-3 * (number // len(embedded))
        a, c = host.a * (1 + strain), host.c * (1 + (1 if host.a == host.c else 2) * strain)
        hosts.append(host.model_copy(update={"id": f"{host.id}-{number}", "a": a, "c": c}))
    write_library(folder / "library.json", hosts)
    path = folder / "run.toml"
    path.write_text(f'hosts_per_shard = {HOSTS_PER_SHARD}\n[library]\nsource = "library.json"\n')
    return path


def overheads(tasks: int, runs: int) -> list[Row]:
    contestants = {
        "order to the computing process": partial(dispatch, engine="child", workers=1, tasks=tasks)
    }
    for engine in ("dask", "mpi"):
        for workers in (1, 2):
            name = f"{engine}, workers: {workers}"
            contestants[name] = partial(dispatch, engine=engine, workers=workers, tasks=tasks)
    return [
        {
            "engine": name,
            "tasks": tasks,
            **median_and_range("ms/task", [wall for wall, _ in times]),
            **median_and_range("CPU ms/task", [cpu for _, cpu in times]),
        }
        for name, times in in_turn(contestants, runs).items()
    ]


def scaling(n_hosts: int, runs: int) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        description = write_library(Path(folder), n_hosts)
        contestants = {
            f"{engine}, workers: {workers}": partial(
                generate, engine=engine, workers=workers, description=description
            )
            for engine in ("dask", "mpi")
            for workers in (1, 2)
        }
        results = in_turn(contestants, runs)
    for name, found in results.items():
        one = results[name.replace("workers: 2", "workers: 1")]
        gains = [rate / alone for (_, rate), (_, alone) in zip(found, one, strict=True)]
        rows.append(
            {
                "engine": name,
                "hosts": n_hosts,
                **median_and_range("wall s", [wall for wall, _ in found]),
                **median_and_range("PDFs/s", [rate for _, rate in found]),
                **median_and_range("over one worker", gains),
            }
        )
    return rows


def draw(tables: Tables) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, title, column in (
        (left, DISPATCH, "ms/task"),
        (right, SCALING, "over one worker"),
    ):
        axes.barh([row["engine"] for row in tables[title]], [row[column] for row in tables[title]])
        axes.set(title=title, xlabel=column)
        axes.invert_yaxis()
    return figure


def main() -> None:
    parser = option_parser(__doc__, runs=3)
    parser.add_argument("--tasks", type=int, default=2000, help="[default: %(default)s]")
    parser.add_argument("--hosts", type=int, default=23440, help="[default: %(default)s]")
    options = parser.parse_args()
    if options.quick:
        options.tasks, options.hosts = 20, 20
    tables = {
        DISPATCH: overheads(options.tasks, options.runs),
        SCALING: scaling(options.hosts, options.runs),
    }
    report("executors", options, tables, [], draw)


if __name__ == "__main__":
    main()
