"""Libraries of hosts, or of other items: reading, writing, and the one that comes with us."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError

from defectgen.hosts.host import Host
from defectgen.samples import Item
from pdfcalc.files import write_atomically
from pdfcalc.reading import open_regular

_TWO_IN_A_LINE = re.compile(rb"\}\s*,\s*\{")


def _parse(text: str | bytes, name: str, item: type[BaseModel] = Host) -> list[Any]:
    items: Any = list[item]  # type: ignore[valid-type]
    try:
        hosts: list[Any] = TypeAdapter(items).validate_json(text)
    except ValidationError as error:
        raise ValueError(_no_library(name, error)) from None
    repeated = [id_ for id_, count in Counter(host.id for host in hosts).items() if count > 1]
    if repeated:
        raise ValueError(_repeated(name, repeated[0]))
    return hosts


def _no_library(name: str, error: ValidationError, *place: int) -> str:
    first = error.errors()[0]
    at = ".".join(map(str, (*place, *first["loc"])))
    return f"{name} is not a library of hosts{at and f' at {at}'}: {first['msg']}"


def _repeated(name: str, id_: str) -> str:
    return f"{name}: host id {id_!r} occurs more than once"


@lru_cache(maxsize=1)
def _embedded() -> tuple[Host, ...]:
    source = files("defectgen.hosts").joinpath("data", "library.json")
    return tuple(_parse(source.read_bytes(), str(source)))


def embedded_library(published_only: bool = False) -> list[Host]:
    """The library that comes with the package, described in `defectgen.hosts.build_library`.

    With `published_only`, without the derived entries.
    """
    return [host for host in _embedded() if host.origin == "published" or not published_only]


def read_library(path: str | Path, item: type[BaseModel] = Host) -> list[Any]:
    """Hosts, or items of another type, of a library file, all at once.

    Raises ValueError, with the file's name, if it cannot be read, is not a valid library or has
    an id twice.
    """
    with _opened(path) as file:
        return _parse(file.read(), str(path), item)


def open_library(path: str | Path, item: type[BaseModel] = Host) -> Sequence[Any]:
    """Hosts, or items of another type, of a library file.

    They are read when they are asked for, if each has a line of its own.
    So `write_library` lays them out; a file in another layout is read at once.

    Raises:
        ValueError: as `read_library` does. Where hosts are read later, what is wrong with a host
            is found when it is read, and a repeated id at the end of a loop over all.
    """
    starts = _line_starts(path)
    if starts is None:
        return read_library(path, item)
    return LibraryFile(Path(path), item, starts, np.arange(len(starts) - 1))


class LibraryFile(Sequence[Any]):
    """Hosts, or other items, of a file with one a line. Slices read nothing either.

    Args:
        item: their type.
        starts: (n_lines + 1,) where each host's line begins; the last one ends at the last entry.
        lines: (n,) the lines of the hosts in this sequence.
    """

    def __init__(
        self, path: Path, item: type[BaseModel], starts: np.ndarray, lines: np.ndarray
    ) -> None:
        self.path, self._item, self._starts, self._lines = path, item, starts, lines

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> LibraryFile: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.take(index)
        return next(self._read(self._lines[[index]]))

    def __iter__(self) -> Iterator[Any]:
        hashes = array("q")
        for host in self._read(self._lines):
            hashes.append(hash(host.id))
            yield host
        self._refuse_repeated_ids(np.array(hashes, dtype=np.int64))

    def take(self, places: np.ndarray | slice) -> LibraryFile:
        """The hosts at these places of the sequence, in this order."""
        return LibraryFile(self.path, self._item, self._starts, self._lines[places])

    def _read(self, lines: np.ndarray) -> Iterator[Any]:
        starts = self._starts
        with _opened(self.path) as file:
            for line in lines:
                file.seek(starts[line])
                text = file.read(starts[line + 1] - starts[line]).rstrip(b",\n")
                try:
                    yield self._item.model_validate_json(text)
                except ValidationError as error:
                    raise ValueError(_no_library(str(self.path), error, line)) from None

    def _refuse_repeated_ids(self, hashes: np.ndarray) -> None:
        # The hashes stand for the ids, which would fill the memory; different ids may share one.
        found, counts = np.unique(hashes, return_counts=True)
        suspects = np.flatnonzero(np.isin(hashes, found[counts > 1]))
        if not len(suspects):
            return
        ids = Counter(host.id for host in self._read(self._lines[suspects]))
        id_, count = ids.most_common(1)[0]
        if count > 1:
            raise ValueError(_repeated(str(self.path), id_))


def take(hosts: Sequence[Any], places: np.ndarray) -> Sequence[Any]:
    """The hosts at these places, in this order, read no earlier than `hosts` themselves are."""
    if isinstance(hosts, LibraryFile):
        return hosts.take(places)
    return [hosts[place] for place in places.tolist()]


def _line_starts(path: str | Path) -> np.ndarray | None:
    """Where each host's line and the closing one begin; None in another layout."""
    starts, position, more = array("q"), len(b"[\n"), True
    with _opened(path) as file:
        if file.readline(3) != b"[\n":
            return None
        for line in file:
            starts.append(position)
            position += len(line)
            if not more:
                closed = line.strip() == b"]" and not file.read(1)
                return np.array(starts) if closed else None
            whole = line.startswith(b"{") and line.endswith((b"},\n", b"}\n"))
            if not whole or _TWO_IN_A_LINE.search(line):
                return None
            more = line.endswith(b",\n")
    return None


def write_library(path: str | Path, hosts: Iterable[Item]) -> None:
    """Write hosts as JSON, one host a line, so that two versions of a library compare well.

    The file is there whole or, if this is interrupted, as it was before.
    """

    def write(place: Path) -> None:
        with place.open("wb") as file:
            file.writelines(_json_lines(hosts))

    write_atomically(Path(path), write)


def _json_lines(hosts: Iterable[Item]) -> Iterator[bytes]:
    yield b"[\n"
    separator = b""
    for host in hosts:
        yield separator + host.model_dump_json().encode()
        separator = b",\n"
    yield b"\n]\n"


def _opened(path: str | Path) -> IO[bytes]:
    try:
        return open_regular(path)
    except OSError as error:
        raise ValueError(f"cannot read the library {path}: {error.strerror}") from error
