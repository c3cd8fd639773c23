"""What stands in the places of a store: folders and regular files of its own, or something else.

A link leads out of the store, a pipe is waited for, a device never ends. None is read or followed.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

_OF_LEDGER = (".json", ".jsonl", "lock", ".npy")
REMEDY = "`generate --repair` puts it right"


def strangers(store: Path, names: Iterable[str]) -> Iterator[Path]:
    """All in the places of a store that is neither a folder nor a regular file, links among it.

    Args:
        names: of the arrays, and of the group of ragged ones.
    """
    for place in (store / name for name in ("zarr.json", "library.json", "ledger", *names)):
        if _is_stranger(place):
            yield place
        elif place.is_dir():
            for folder, folders, files in os.walk(place):
                inside = (Path(folder, name) for name in (*folders, *files))
                yield from filter(_is_stranger, inside)


def _is_stranger(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def misplaced(store: Path, names: Iterable[str]) -> Iterator[Path]:
    """Folders of a store where files should be, and files where folders should be."""
    arrays = [store / name for name in names]
    files = [store / "zarr.json", store / "library.json", *(a / "zarr.json" for a in arrays)]
    folders = [store / "ledger", *arrays, *(array / "c" for array in arrays)]
    files += [path for path in (store / "ledger").glob("*") if path.name.endswith(_OF_LEDGER)]
    yield from (path for path in files if path.is_dir() and not path.is_symlink())
    yield from (path for path in folders if path.is_file() and not path.is_symlink())


def remove(path: Path) -> None:
    """Remove whatever is at `path`: a folder with all in it, a link but not what it leads to."""
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return


def sweep_partial_files(path: Path) -> None:
    """Remove what writers that were killed left half-written anywhere in a store.

    For a store that nobody else writes to.
    """
    for partial in path.rglob("*.partial"):
        remove(partial)


def make_folders(store: Path, folder: Path) -> None:
    """Make a folder within a store, of folders only: what else is in the way is removed."""
    for place in [*reversed(folder.relative_to(store).parents), folder.relative_to(store)][1:]:
        path = store / place
        try:
            if stat.S_ISDIR(path.lstat().st_mode):
                continue
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        path.mkdir(exist_ok=True)
