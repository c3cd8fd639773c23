"""Packages and their rooms import one way: from below, so that there are no circles.

A room is a folder of a package, a module that stands by itself at the package's top, or a folder in
a folder where it has a place of its own. Imports inside functions and for types alone count as any
others. What a package itself gives, its
`__init__.py`, is above all its rooms, and they don't import it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
# From the bottom to the top. Rooms in one line don't import each other.
ROOMS = {
    "pdfcalc": ["reading files kernels", "crystals", "pdf", "powder", "gpu measured"],
    "defectgen": [
        "samples plugins",
        "hosts",
        "sites relaxation",
        "point_defects",
        "sources stages",
        "commands",
    ],
    "hpc": [
        "limits observables",
        "description",
        "plan watching",
        "store",
        "workers",
        "executors estimate",
        "generate",
        "commands",
    ],
    "train": [
        "models setup run_files",
        "data",
        "judging",
        "report",
        "problems",
        "runs",
        "problems.defects",
        "fitting",
        "measured",
        "commands",
        "cli __main__",
    ],
}


class Import(NamedTuple):
    """One module of ours that another imports."""

    by: str
    of: str


def modules(root: Path) -> dict[str, Path]:
    """The files of the packages by the names of their modules."""
    paths = [path for package in ROOMS for path in (root / package).rglob("*.py")]
    names = [".".join(path.relative_to(root).with_suffix("").parts) for path in paths]
    return {n.removesuffix(".__init__"): path for n, path in zip(names, paths, strict=True)}


def imports(root: Path = ROOT) -> Iterator[Import]:
    """Every import of a module of the packages by another."""
    found = modules(root)
    for name, path in found.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}, line {node.lineno}: name the module in full"
                inside = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [one if one in found else str(node.module) for one in inside]
            else:
                continue
            yield from (Import(name, one) for one in dict.fromkeys(targets) if one in found)


def floor(module: str) -> tuple[int, int]:
    """Place of a module's package, and in it of its room; higher ones are built on lower ones."""
    package, _, rest = module.partition(".")
    order, own = ROOMS[package], room(module).partition(".")[2]
    floors = [n for n, level in enumerate(order) if own in level.split()]
    assert not rest or floors, f"{module}: the room {own} has no place in the order of {package}"
    return list(ROOMS).index(package), floors[0] if rest else len(order)


def room(module: str) -> str:
    package, *inside = module.split(".")
    named = " ".join(ROOMS[package]).split()
    within = ".".join(inside[:2])
    return ".".join([package, within if within in named else inside[0]] if inside else [package])


def against_the_order(root: Path = ROOT) -> list[Import]:
    """The imports that don't go down, but for those within a room."""
    return [
        one
        for one in imports(root)
        if room(one.by) != room(one.of) and floor(one.of) >= floor(one.by)
    ]


def test_imports_go_down():
    wrong = sorted(set(against_the_order()))
    assert not wrong, "\n".join(f"{by} imports {of}" for by, of in wrong)


def test_no_files_import_each_other_in_a_circle():
    lower: dict[str, set[str]] = {}
    for by, of in imports():
        lower.setdefault(by, set()).add(of)
    TopologicalSorter(lower).prepare()  # or a CycleError that names them


def test_every_room_of_the_order_is_there():
    there = {room(module) for module in modules(ROOT)}
    named = {f"{p}.{one}" for p, order in ROOMS.items() for one in " ".join(order).split()}
    assert named <= there


@pytest.mark.parametrize(
    ("by", "line"),
    [
        ("pdfcalc/pdf/a.py", "import pdfcalc.gpu.b"),
        ("pdfcalc/pdf/a.py", "def f():\n    from pdfcalc.gpu import b"),
        ("pdfcalc/pdf/a.py", "if TYPE_CHECKING:\n    from pdfcalc.gpu.b import c"),
        ("pdfcalc/gpu/a.py", "from defectgen.hosts import b"),
        ("pdfcalc/measured/a.py", "from pdfcalc.gpu.b import c"),
        ("pdfcalc/pdf/a.py", "from pdfcalc import c"),
    ],
)
def test_an_import_against_the_order_is_found(tmp_path, by, line):
    for place in ("pdfcalc/__init__.py", "pdfcalc/gpu/b.py", "defectgen/hosts/b.py", by):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    (tmp_path / by).write_text(line)
    assert len(against_the_order(tmp_path)) == 1
