"""What the benchmarks share: runs taken in turn, the machine's description, tables and figures.

Nothing heavy is imported here: a benchmark of processes must be a small process itself.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import statistics
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
"""One line of a table; a pair of numbers is a range."""
Tables = dict[str, list[Row]]
"""Rows by the title of their table."""

T = TypeVar("T")
_PACKAGES = (
    *("defectpdf", "numpy", "numba", "scipy", "zarr", "distributed", "torch"),
    *("diffpy.srreal", "DebyeCalculator"),
)


def read_options(description: str, runs: int) -> Namespace:
    """The options of a benchmark with no options of its own."""
    return option_parser(description, runs).parse_args()


def option_parser(description: str, runs: int) -> ArgumentParser:
    """A parser of the options that all benchmarks take; `runs` is the default number of them."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=runs, help="[default: %(default)s]")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    folder = Path(__file__).with_name("results")
    parser.add_argument("--out", type=Path, default=folder, help="folder of the figure")
    return parser


def in_turn(contestants: Mapping[str, Callable[[int], T]], runs: int) -> dict[str, list[T]]:
    """What each contestant gives for run 0, 1, ..., all of them in each run before the next one.

    So that what disturbs the machine for a while disturbs all. A run before them, which compiles
    code and fills caches, does not count.
    """
    for contestant in contestants.values():
        contestant(0)
    results: dict[str, list[T]] = {name: [] for name in contestants}
    for run in range(runs):
        for name, contestant in contestants.items():
            results[name].append(contestant(run))
    return results


def seconds(function: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def median_and_range(name: str, values: Sequence[float]) -> Row:
    """The two columns that say what was measured."""
    return {name: statistics.median(values), f"{name} range": (min(values), max(values))}


def peak_memory(function: Callable[..., object], *arguments: object) -> float:
    """Peak memory in MiB of a new process that does nothing but one call; imports included."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as pool:
        return pool.submit(_peak_memory, function, *arguments).result()


def _peak_memory(function: Callable[..., object], *arguments: object) -> float:
    function(*arguments)
    # Not by getrusage, which may hold what the parent had before the process was its own.
    match = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Exponent of the power law through the upper half of the points, past the fixed costs."""
    upper = slice(-max(2, len(x) // 2), None)
    logs = ([math.log(value) for value in values[upper]] for values in (x, y))
    return statistics.linear_regression(*logs).slope


def report(
    name: str,
    options: Namespace,
    tables: Tables,
    notes: Sequence[str],
    draw: Callable[[Tables], Figure],
) -> None:
    """Write the figure and print the tables, or JSON."""
    figure = _save(draw, tables, options.out / f"{name}.svg")
    if options.json:
        found = {
            "benchmark": name,
            "machine": machine(),
            "versions": versions(),
            "runs": options.runs,
            "tables": tables,
            "notes": list(notes),
            "figure": str(figure),
        }
        print(json.dumps(found))
        return
    print("; ".join(f"{key} {value}" for key, value in (machine() | versions()).items()))
    print(f"medians of {options.runs} runs in turn, with their range\n")
    for title, rows in tables.items():
        _print_table(title, rows)
    for note in notes:
        print(f"- {note}")
    print(f"wrote {figure}")


def machine() -> dict[str, str]:
    """Where this runs, and how busy it is."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "system": platform.platform(),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
    }


def versions() -> dict[str, str]:
    """Versions of what is installed."""
    found = {"Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _save(draw: Callable[[Tables], Figure], tables: Tables, path: Path) -> Path:
    import matplotlib

    from train.report.figures import report_style

    path.parent.mkdir(parents=True, exist_ok=True)
    with report_style(), matplotlib.rc_context({"savefig.facecolor": "white"}):
        draw(tables).savefig(path, metadata={"Date": None})
    return path


def _print_table(title: str, rows: Sequence[Row]) -> None:
    from rich.table import Table

    from hpc.watching.console import plain_console

    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        table.add_row(*map(_text, row.values()))
    # A table in a file is as wide as it needs to be.
    plain_console(width=None if sys.stdout.isatty() else 160).print(table)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " - ".join(map(_text, value))
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)
