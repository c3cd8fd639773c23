"""Something else in the place of a file or folder of a store: named, not waited for, put right."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from runs import TOML, files_of

from hpc.description import read_description
from hpc.executors import Execute, start_executor
from hpc.generate import generate
from hpc.store.inspect import atoms_of_row, status, verify
from train.data.store import Dataset

FILES = (
    *("zarr.json", "library.json", "g/zarr.json", "g/c/2/0/0", "id/c/0"),
    *("ledger/records.jsonl", "ledger/lock", "ledger/creation.lock"),
)
PLACES = (*FILES, "g/c/2", "g/c", "g", "r/c", "label", "ledger")


def a_folder(place: Path, elsewhere: Path) -> None:
    place.mkdir()
    if elsewhere.is_file():
        (place / "something").write_text("of somebody")


def a_file(place: Path, elsewhere: Path) -> None:
    place.write_text("of somebody")


def a_pipe(place: Path, elsewhere: Path) -> None:
    os.mkfifo(place)


def a_link_to_nothing(place: Path, elsewhere: Path) -> None:
    place.symlink_to("nothing")


def a_link_to_itself(place: Path, elsewhere: Path) -> None:
    place.symlink_to(place.name)


def a_link_to_a_device(place: Path, elsewhere: Path) -> None:
    place.symlink_to("/dev/zero")


def a_link_elsewhere(place: Path, elsewhere: Path) -> None:
    place.symlink_to(elsewhere)


SUBSTITUTES = (
    *(a_folder, a_file, a_pipe, a_link_to_nothing),
    *(a_link_to_itself, a_link_to_a_device, a_link_elsewhere),
)
NAMED = {
    **dict.fromkeys(("g/c/2/0/0", "g/c/2"), ("g/c/2", "hosts 4 to 5")),
    **dict.fromkeys(("g/c", "g"), ("g ", "g/c", "hosts 0 to 1")),
    "r/c": ("r ", "r/c"),
    "ledger": ("ledger", "11 hosts are not computed yet"),
}
"""What verify may say of a place, where it is not the place itself."""
SHARP = {
    *((place, a_pipe) for place in ("zarr.json", "g/c/2/0/0", "ledger")),
    ("g/c/2", a_link_elsewhere),
    ("ledger/records.jsonl", a_folder),
}
"""What waited forever, led out of the store or was not put right."""
CASES = [
    pytest.param(*case, marks=() if case in SHARP else pytest.mark.slow)
    for case in product(PLACES, SUBSTITUTES)
    if case not in product(FILES, [a_file])
]


@contextmanager
def within(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise AssertionError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def execute() -> Iterator[Execute]:
    with start_executor("serial", 1) as execute:
        assert execute is not None
        yield execute


def replace(store: Path, place: str, substitute: Callable[[Path, Path], None]) -> Path:
    """Put something else in a place of a store, and what was there out of it."""
    elsewhere = store.parent / "elsewhere"
    shutil.move(store / place, elsewhere)
    substitute(store / place, elsewhere)
    return elsewhere


def content_of(path: Path) -> dict[str, bytes]:
    return {"": path.read_bytes()} if path.is_file() else files_of(path)


@pytest.mark.parametrize(("place", "substitute"), CASES)
def test_what_is_out_of_place_is_named_and_put_right(oracle, tmp_path, execute, place, substitute):
    store = Path(shutil.copytree(oracle, tmp_path / "store.zarr"))
    elsewhere = replace(store, place, substitute)
    was_there = content_of(elsewhere)
    with within(60):
        told = told_by_verify(store)
    assert any(name in told for name in NAMED.get(place, (place,))), told
    (tmp_path / "run.toml").write_text(TOML)
    with within(120):
        generate(store, read_description(tmp_path / "run.toml"), execute, repair=True)
        assert verify(store)["ok"]
    assert files_of(store) == files_of(oracle)
    assert content_of(elsewhere) == was_there
    assert not any(path.is_symlink() for path in store.rglob("*"))


def told_by_verify(store: Path) -> str:
    """What verify says of a store that is not sound."""
    try:
        found = verify(store)
    except ValueError as error:
        return str(error)
    assert not found["ok"]
    return "\n".join(found["problems"])


@pytest.mark.parametrize("substitute", [a_pipe, a_link_to_itself, a_link_to_a_device])
def test_no_reader_waits_for_what_is_out_of_place(oracle, tmp_path, substitute):
    store = Path(shutil.copytree(oracle, tmp_path / "store.zarr"))
    for place in PLACES:
        elsewhere = replace(store, place, substitute)
        for read in (status, Dataset.open, lambda path: atoms_of_row(path, 0, 0)):
            with within(60), suppress(OSError, ValueError):
                read(store)
        (store / place).unlink()
        shutil.move(elsewhere, store / place)


@pytest.mark.parametrize("place", ["zarr.json", "label/zarr.json", "library.json"])
def test_json_nested_without_end_is_named_and_put_right(oracle, tmp_path, execute, place):
    store = Path(shutil.copytree(oracle, tmp_path / "store.zarr"))
    (store / place).write_text("[" * 100_000 + "]" * 100_000)
    for read in (status, Dataset.open, lambda path: atoms_of_row(path, 0, 0)):
        with suppress(OSError, ValueError):
            read(store)
    assert place in told_by_verify(store)
    (tmp_path / "run.toml").write_text(TOML)
    generate(store, read_description(tmp_path / "run.toml"), execute, repair=True)
    assert files_of(store) == files_of(oracle)


def test_a_store_without_its_ledger_says_what_helps(oracle, tmp_path, execute):
    store = Path(shutil.copytree(oracle, tmp_path / "store.zarr"))
    shutil.rmtree(store / "ledger")
    with pytest.raises(ValueError, match=r"ledger/lock is lost or no file: `generate --repair`"):
        generate(store, None, execute)
    generate(store, None, execute, repair=True)
    assert verify(store)["ok"]
    assert files_of(store) == files_of(oracle)


def test_a_folder_of_something_else_is_not_made_a_store(tmp_path, execute):
    (tmp_path / "zarr.json").write_text('{"attributes": {"run": 1}}')
    before = files_of(tmp_path)
    for repair in (False, True):
        with pytest.raises(ValueError, match="exists and is not a store"):
            generate(tmp_path, None, execute, repair=repair)
    assert files_of(tmp_path) == before


def test_what_a_user_keeps_in_a_store_stays(oracle, tmp_path, execute):
    store = Path(shutil.copytree(oracle, tmp_path / "store.zarr"))
    (store / "notes").symlink_to(tmp_path)
    generate(store, None, execute, repair=True)
    assert verify(store)["ok"]
    assert (store / "notes").readlink() == tmp_path
