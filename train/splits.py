"""Train, validation and test parts of a store, by host, by element or by row.

`host` is the honest default: all entries of one element in one space group stay together, since
they differ by little more than a strain. `element` is harder: the test elements are never hosts
in training. `row` shuffles single (structure, variant) rows, as the reference study did; nearly
every test host is then also in training and THE ACCURACY IS NOT THAT OF AN UNSEEN CRYSTAL. It is
kept for comparison with published numbers only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from train.data import PDFStore

SplitKind = Literal["host", "element", "row"]
PARTS = ("train", "val", "test")
HELD_OUT = 0.1  # fraction of the rows in val, and again in test


def split_rows(store: PDFStore, kind: SplitKind, seed: int) -> dict[str, np.ndarray]:
    """Rows of each part, as ascending positions in `store.rows`.

    Depends on ids, elements, space groups and the seed, never on the order of the structures.
    """
    if kind not in get_args(SplitKind):
        raise ValueError(f"split {kind!r} is not one of {', '.join(get_args(SplitKind))}")
    structure = store.rows[:, 0]
    if kind == "row":
        groups = [f"{store.id[s]}#{v}" for s, v in store.rows]
        strata = ["all"] * len(groups)
    elif kind == "element":
        groups = list(store.element[structure])
        strata = ["all"] * len(groups)
    else:
        strata = [str(number) for number in store.space_group[structure]]
        groups = [f"{store.element[s]} {store.space_group[s]}" for s in structure]
    part = np.array(assign_parts(groups, strata, seed))
    rows = {name: np.flatnonzero(part == name) for name in PARTS}
    for name in PARTS:
        if not len(rows[name]):
            raise ValueError(
                f"the {kind} split of {store.path} leaves no row for {name}: "
                f"it has only {len(set(groups))} groups; use a larger store"
            )
    return rows


def assign_parts(groups: Sequence[str], strata: Sequence[str], seed: int) -> list[str]:
    """Part of each item, so that no group is divided and each stratum gives about a tenth.

    Within a stratum, groups come in a seeded pseudo-random order; each goes to test, then to
    val, if that brings the part nearer to its tenth, else to train. A stratum that has three or
    more groups, all too large for that, gives its smallest ones, so that no stratum goes untested.
    """
    sizes: dict[str, dict[str, int]] = {}
    for group, stratum in zip(groups, strata, strict=True):
        stratum_sizes = sizes.setdefault(stratum, {})
        stratum_sizes[group] = stratum_sizes.get(group, 0) + 1
    part_of: dict[tuple[str, str], str] = {}
    for stratum, stratum_sizes in sizes.items():
        part = _assign_stratum(stratum_sizes, seed)
        part_of |= {(stratum, group): name for group, name in part.items()}
    return [part_of[stratum, group] for group, stratum in zip(groups, strata, strict=True)]


def _assign_stratum(sizes: dict[str, int], seed: int) -> dict[str, str]:
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).digest())
    part = dict.fromkeys(order, "train")
    target = HELD_OUT * sum(sizes.values())
    for name in ("test", "val"):
        free = [group for group in order if part[group] == "train"]
        taken = 0
        for group in free:
            if abs(taken + sizes[group] - target) < abs(taken - target):
                part[group] = name
                taken += sizes[group]
        if not taken and len(order) >= len(PARTS):
            part[min(free, key=lambda group: sizes[group])] = name
    return part
