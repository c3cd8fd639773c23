"""Train, validation and test parts of a store, by host, by element, by space group or by row.

`host` is the honest default: all entries of one element in one space group stay together, since
they differ by little more than a strain. `element` is harder: the test elements are never hosts
in training. `space_group:225` has all of group 225 in test, none in training, and validates on
other groups, by host. `row` shuffles single (structure, variant) rows, as the reference study
did; nearly every test host is then also in training and THE ACCURACY IS NOT THAT OF AN UNSEEN
CRYSTAL. It is kept for comparison with published numbers only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from train.data.store import PDFStore

PARTS = ("train", "val", "test")
HELD_OUT = 0.1  # fraction of the rows in val, and again in test
_TRAIN = PARTS.index("train")
SPLIT_MEANING = {
    "host": "all entries of one element in one space group stay in one part",
    "element": "all entries of one element stay in one part",
    "space_group": "the test part is all of this space group, which training never saw",
    "row": "single PDFs at random: test hosts are also in training",
}


def split_meaning(split: str) -> str:
    """What is held out together by `host`, `element`, `space_group:N` or `row`."""
    return SPLIT_MEANING[split.partition(":")[0]]


def split_rows(store: PDFStore, split: str, seed: int) -> dict[str, np.ndarray]:
    """Rows of each part, as ascending positions in `store.rows`.

    Depends on ids, elements, space groups and the seed, never on the order of the structures.

    Raises:
        ValueError: there is no such split of this store, or a part would be empty.
    """
    structure, variant = store.rows.T
    space_groups = np.unique(store.space_group[np.unique(structure)])
    splits = "host", "element", *(f"space_group:{number}" for number in space_groups), "row"
    if split not in splits:
        raise ValueError(f"split {split!r} of {store.path} is not one of {', '.join(splits)}")
    if split == "row":
        groups = len(structure)

        def name_of_row(row: int) -> str:
            return f"{store.id.item(structure.item(row))}#{variant.item(row)}"

        part = assign_parts(name_of_row, np.ones(groups, int), seed)
    else:
        names, stratum, group = _groups_of_structures(store, split)
        sizes = np.bincount(group[structure], minlength=len(names))
        groups = int(np.count_nonzero(sizes))
        left_out = split.startswith("space_group:")
        held_out = ("val",) if left_out else ("test", "val")
        part = assign_parts(names.__getitem__, sizes, seed, held_out, stratum)
        if left_out:
            part[stratum == int(split.partition(":")[2])] = PARTS.index("test")
        part = part[group][structure]
    rows = {name: np.flatnonzero(part == code) for code, name in enumerate(PARTS)}
    for name in PARTS:
        if not len(rows[name]):
            raise ValueError(
                f"the {split} split of {store.path} leaves no row for {name}: "
                f"it has only {groups} groups; use a larger store"
            )
    return rows


def _groups_of_structures(
    store: PDFStore, split: str
) -> tuple[list[str], np.ndarray | None, np.ndarray]:
    """Names (k,) of what stays together, their strata (k,) if any, and each structure's (S,)."""
    elements, element = np.unique(store.element, return_inverse=True)
    if split == "element":
        return elements.tolist(), None, element
    numbers, number = np.unique(store.space_group, return_inverse=True)
    pairs, group = np.unique(element * len(numbers) + number, return_inverse=True)
    of_element, stratum = elements[pairs // len(numbers)], numbers[pairs % len(numbers)]
    names = [f"{name} {number}" for name, number in zip(of_element, stratum, strict=True)]
    return names, stratum, group


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
