"""Reading and writing libraries of hosts, and the library that comes with the package."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from defectgen.host import Host

_HOSTS = TypeAdapter(list[Host])


def _parse(text: str | bytes, name: str) -> list[Host]:
    try:
        hosts = _HOSTS.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = f" at {'.'.join(map(str, first['loc']))}" if first["loc"] else ""
        raise ValueError(f"{name} is not a library of hosts{where}: {first['msg']}") from None
    repeated = [id_ for id_, count in Counter(host.id for host in hosts).items() if count > 1]
    if repeated:
        raise ValueError(f"{name}: host id {repeated[0]!r} occurs more than once")
    return hosts


@lru_cache(maxsize=1)
def _embedded() -> tuple[Host, ...]:
    source = files("defectgen").joinpath("data", "library.json")
    return tuple(_parse(source.read_bytes(), str(source)))


def embedded_library(published_only: bool = False) -> list[Host]:
    """The library that comes with the package, described in `defectgen.build_library`.

    With `published_only`, without the derived entries.
    """
    return [host for host in _embedded() if host.origin == "published" or not published_only]


def read_library(path: str | Path) -> list[Host]:
    """Hosts of a library file.

    Raises ValueError, with the file's name, if it cannot be read, is not a valid library or has
    an id twice.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read the library {path}: {error.strerror}") from error
    return _parse(text, str(path))


def write_library(path: str | Path, hosts: list[Host]) -> None:
    """Write hosts as JSON, one host a line, so that two versions of a library compare well."""
    lines = ",\n".join(host.model_dump_json() for host in hosts)
    Path(path).write_text(f"[\n{lines}\n]\n", encoding="utf-8", newline="\n")
