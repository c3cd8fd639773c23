"""The whole process from the shell: `defectpdf generate` of the embedded library into new stores.

Each run is a process of its own. CPU time and peak memory are those of the process and of all that
it waited for; the peak is that of the largest of them. The stages are those of one serial process,
timed at the functions named in stages.py.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.common import Row, Tables, in_turn, median_and_range, option_parser, report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROCESSES, STAGES = "defectpdf generate", "stages of one serial process"
"""Titles of the tables."""


class Usage(NamedTuple):
    """What a run took."""

    wall: float
    """s, from its start to its end"""
    cpu: float
    """s, of all processes"""
    memory: float
    """MiB, the most that one process had"""


def generate(run: int, engine: list[str], limit: list[str], compiles: bool = False) -> Usage:
    """Make a store anew."""
    command = [str(Path(sys.executable).with_name("defectpdf")), "generate", *engine, *limit]
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        if compiles:
            environment["NUMBA_CACHE_DIR"] = f"{folder}/compiled"
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--store", f"{folder}/metals.zarr"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
        )
        assert process.stderr is not None
        log = process.stderr.read()
        # Not by process.wait, which keeps the usage to itself.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.decode()}")
    return Usage(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def stages(run: int, limit: int | None) -> dict[str, float]:
    """Seconds of each stage of a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.stages", f"{folder}/metals.zarr"]
        # The clock is the same in all processes.
        arguments = [str(time.monotonic()), str(limit or "")]
        output = subprocess.run([*command, *arguments], check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, float] = json.loads(output)
    return found


def processes(workers: list[int], limit: int | None, compiles: bool, runs: int) -> list[Row]:
    limits = [] if limit is None else ["--limit", str(limit)]
    contestants = {"serial": partial(generate, engine=["--engine", "serial"], limit=limits)}
    for number in workers:
        engine = ["--engine", "dask", "--workers", str(number)]
        contestants[f"dask, workers: {number}"] = partial(generate, engine=engine, limit=limits)
    if compiles:
        contestants["serial, and compiles"] = partial(contestants["serial"], compiles=True)
    n_pdfs = 13 * (limit or 1172)
    rows = []
    for name, usages in in_turn(contestants, runs).items():
        walls = [usage.wall for usage in usages]
        rows.append(
            {
                "engine": name,
                **median_and_range("wall s", walls),
                "PDFs/s": n_pdfs / statistics.median(walls),
                **median_and_range("CPU s", [usage.cpu for usage in usages]),
                "peak memory MiB": max(usage.memory for usage in usages),
            }
        )
    return rows


def by_stage(limit: int | None, runs: int) -> list[Row]:
    found = in_turn({"serial": partial(stages, limit=limit)}, runs)["serial"]
    total = statistics.median(sum(times.values()) for times in found)
    rows = []
    for stage in sorted(found[0], key="rest".__eq__):
        row = median_and_range("s", [times[stage] for times in found])
        rows.append({"stage": stage, **row, "share %": 100 * row["s"] / total})
    return rows


def draw(tables: Tables) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = tables[PROCESSES]
    for place, row in enumerate(rows):
        left.barh(place, row["wall s"], height=0.35, color="C0", label="wall" * (not place))
        left.barh(place + 0.35, row["CPU s"], height=0.35, color="C1", label="CPU" * (not place))
    left.set_yticks([place + 0.175 for place in range(len(rows))], [row["engine"] for row in rows])
    left.set(title=PROCESSES, xlabel="s")
    right.barh([row["stage"] for row in tables[STAGES]], [row["s"] for row in tables[STAGES]])
    right.set(title=STAGES, xlabel="s")
    left.legend()
    for axes in (left, right):
        axes.invert_yaxis()
    return figure


def main() -> None:
    parser = option_parser(__doc__, runs=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="of Dask")
    parser.add_argument("--limit", type=int, help="take this many hosts  [default: all]")
    parser.add_argument(
        "--compile", action="store_true", help="also a serial run that compiles everything first"
    )
    options = parser.parse_args()
    if options.quick:
        options.limit, options.workers = 20, []
    tables = {
        PROCESSES: processes(options.workers, options.limit, options.compile, options.runs),
        STAGES: by_stage(options.limit, options.runs),
    }
    report("whole_library", options, tables, [], draw)


if __name__ == "__main__":
    main()
