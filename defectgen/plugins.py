"""Plug-ins by name: sources, stages, observables and problems, ours and those of other packages.

One of ours is a module of its room that names its class PLUG_IN. One of another package is an entry
point of that package in the group `defectpdf.<room>`, as in its pyproject.toml:

    [project.entry-points."defectpdf.observables"]
    magnetic = "our_package.magnetic:MagneticPDF"
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any


def plug_in_names(room: str) -> list[str]:
    """Names of all that can be plugged in, of a room such as "hpc.observables"."""
    return sorted({*_own(room), *(point.name for point in entry_points(group=_group(room)))})


def find_plug_in(room: str, name: str) -> Any:
    """The class of this name.

    Raises:
        ValueError: there is none, with the names that there are.
    """
    if name in _own(room):
        return import_module(f"{room}.{name}").PLUG_IN
    for point in entry_points(group=_group(room), name=name):
        return point.load()
    kind = room.rpartition(".")[2].removesuffix("s")
    known = ", ".join(plug_in_names(room)) or "none"
    raise ValueError(f"there is no {kind} {name!r}; known are {known}")


def _own(room: str) -> set[str]:
    return {module.name for module in pkgutil.iter_modules(import_module(room).__path__)}


def _group(room: str) -> str:
    return f"defectpdf.{room.rpartition('.')[2]}"
