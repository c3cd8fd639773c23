"""Train, validation and test parts of a store, by groups of rows that a problem names.

Where a split divides structures, as the defects problem's `row` does, THE ACCURACY IS NOT THAT OF
AN UNSEEN CRYSTAL: nearly every test host is then also in training. Such a split is kept for
comparison with published numbers only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from train.data.examples import Examples

PARTS = ("train", "val", "test")
HELD_OUT = 0.1  # fraction of the rows in val, and again in test
_TRAIN = PARTS.index("train")


def split_rows(examples: Examples, split: str, seed: int) -> dict[str, np.ndarray]:
    """Rows of each part, as ascending positions in `examples.rows`.

    Depends on names of groups, strata and the seed, never on the order of the structures.

    Raises:
        ValueError: there is no such split of this store, or a part would be empty.
    """
    grouping = examples.grouping(split)
    sizes = np.bincount(grouping.of_row)
    held_out = ("test", "val") if grouping.test is None else ("val",)
    part = assign_parts(grouping.name, sizes, seed, held_out, grouping.stratum)
    if grouping.test is not None:
        part[grouping.test] = PARTS.index("test")
    part = part[grouping.of_row]
    rows = {name: np.flatnonzero(part == code) for code, name in enumerate(PARTS)}
    for name in PARTS:
        if not len(rows[name]):
            raise ValueError(
                f"the {split} split of {examples.path} leaves no row for {name}: "
                f"it has only {np.count_nonzero(sizes)} groups; use a larger store"
            )
    return rows


def assign_parts(
    name: Callable[[int], str],
    sizes: np.ndarray,
    seed: int,
    held_out: Sequence[str] = ("test", "val"),
    stratum: np.ndarray | None = None,
) -> np.ndarray:
    """Part of each group, so that each stratum gives about a tenth of its rows.

    Within a stratum, groups come in a seeded pseudo-random order; each goes to the first part
    that is held out, then to the next, if that brings the part nearer to its tenth, else to
    train. A stratum that has more groups than parts are held out, all too large for that, gives
    its smallest ones, so that no stratum goes untested.

    Args:
        name: of group 0..k-1, unique in its stratum; asked for one by one, so that as many groups
            as there are rows need not be in memory as strings.
        sizes: (k,) rows; a group that has none counts for nothing.
        stratum: (k,); None if all are of one.

    Returns:
        (k,) positions in PARTS.
    """
    part = np.full(len(sizes), _TRAIN, np.int8)
    order = _pseudo_random_order(name, np.flatnonzero(sizes), seed)
    strata = [order]
    if stratum is not None:
        order = order[np.argsort(stratum[order], kind="stable")]
        strata = np.split(order, np.flatnonzero(np.diff(stratum[order])) + 1)
    for groups in strata:
        part[groups] = _assign_stratum(sizes[groups], held_out)
    return part


def _assign_stratum(sizes: np.ndarray, held_out: Sequence[str]) -> np.ndarray:
    """Position in PARTS of groups (n,) in their order, each of at least one row."""
    part = np.full(len(sizes), _TRAIN, np.int8)
    target = HELD_OUT * int(sizes.sum())
    for name in held_out:
        code, taken = PARTS.index(name), 0
        free = np.flatnonzero(part == _TRAIN)
        for group in free:
            if taken >= target:
                break
            size = int(sizes[group])
            if abs(taken + size - target) < abs(taken - target):
                part[group] = code
                taken += size
        if not taken and len(sizes) > len(held_out):
            part[free[sizes[free].argmin()]] = code
    return part


def _pseudo_random_order(name: Callable[[int], str], groups: np.ndarray, seed: int) -> np.ndarray:
    """Groups by the SHA-256 of seed and name."""

    def digest(group: int) -> bytes:
        return hashlib.sha256(f"{seed} {name(group)}".encode()).digest()

    beginnings = (int.from_bytes(digest(group)[:8], "big") for group in groups)
    beginning = np.fromiter(beginnings, np.uint64, len(groups))
    by_beginning = np.argsort(beginning, kind="stable")
    order, beginning = groups[by_beginning], beginning[by_beginning]
    # Digests that begin alike are rare, and then the rest of them decides.
    for first in np.flatnonzero(beginning[1:] == beginning[:-1]):
        alike = slice(first, np.searchsorted(beginning, beginning[first], "right"))
        order[alike] = sorted(order[alike], key=digest)
    return order
