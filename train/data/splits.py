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
from collections.abc import Sequence

import numpy as np

from train.data.store import PDFStore

PARTS = ("train", "val", "test")
HELD_OUT = 0.1  # fraction of the rows in val, and again in test
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
    structure = store.rows[:, 0]
    space_group = store.space_group[structure]
    splits = "host", "element", *(f"space_group:{n}" for n in np.unique(space_group)), "row"
    if split not in splits:
        raise ValueError(f"split {split!r} of {store.path} is not one of {', '.join(splits)}")
    if split == "row":
        groups = [f"{store.id[s]}#{v}" for s, v in store.rows]
        strata = ["all"] * len(groups)
    elif split == "element":
        groups = list(store.element[structure])
        strata = ["all"] * len(groups)
    else:
        strata = [str(number) for number in space_group]
        groups = [f"{store.element[s]} {store.space_group[s]}" for s in structure]
    if split.startswith("space_group:"):
        part = np.array(assign_parts(groups, strata, seed, ("val",)))
        part[space_group == int(split.partition(":")[2])] = "test"
    else:
        part = np.array(assign_parts(groups, strata, seed))
    rows = {name: np.flatnonzero(part == name) for name in PARTS}
    for name in PARTS:
        if not len(rows[name]):
            raise ValueError(
                f"the {split} split of {store.path} leaves no row for {name}: "
                f"it has only {len(set(groups))} groups; use a larger store"
            )
    return rows


def assign_parts(
    groups: Sequence[str],
    strata: Sequence[str],
    seed: int,
    held_out: Sequence[str] = ("test", "val"),
) -> list[str]:
    """Part of each item, so that no group is divided and each stratum gives about a tenth.

    Within a stratum, groups come in a seeded pseudo-random order; each goes to the first part
    that is held out, then to the next, if that brings the part nearer to its tenth, else to
    train. A stratum that has more groups than parts are held out, all too large for that, gives
    its smallest ones, so that no stratum goes untested.
    """
    sizes: dict[str, dict[str, int]] = {}
    for group, stratum in zip(groups, strata, strict=True):
        stratum_sizes = sizes.setdefault(stratum, {})
        stratum_sizes[group] = stratum_sizes.get(group, 0) + 1
    part_of: dict[tuple[str, str], str] = {}
    for stratum, stratum_sizes in sizes.items():
        part = _assign_stratum(stratum_sizes, seed, held_out)
        part_of |= {(stratum, group): name for group, name in part.items()}
    return [part_of[stratum, group] for group, stratum in zip(groups, strata, strict=True)]


def _assign_stratum(sizes: dict[str, int], seed: int, held_out: Sequence[str]) -> dict[str, str]:
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).digest())
    part = dict.fromkeys(order, "train")
    target = HELD_OUT * sum(sizes.values())
    for name in held_out:
        free = [group for group in order if part[group] == "train"]
        taken = 0
        for group in free:
            if abs(taken + sizes[group] - target) < abs(taken - target):
                part[group] = name
                taken += sizes[group]
        if not taken and len(order) > len(held_out):
            part[min(free, key=lambda group: sizes[group])] = name
    return part
