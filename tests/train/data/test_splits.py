from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.splits import HELD_OUT, PARTS, assign_parts, split_rows
from train.data.store import Dataset
from train.problems.defects.examples import read_examples

groups_of_rows = st.lists(
    st.tuples(st.sampled_from("ABC"), st.integers(0, 30)), min_size=1, max_size=200
)


def parts_row_by_row(
    groups: Sequence[str], strata: Sequence[str], seed: int, held_out: Sequence[str]
) -> list[str]:
    """The same parts, the plain way: a name for every row, groups taken one after the other."""
    part: dict[tuple[str, str], str] = {}
    for stratum in set(strata):
        sizes = Counter(g for g, s in zip(groups, strata, strict=True) if s == stratum)
        order = sorted(sizes, key=lambda g: hashlib.sha256(f"{seed} {g}".encode()).digest())
        of_group = dict.fromkeys(order, "train")
        target = HELD_OUT * sum(sizes.values())
        for name in held_out:
            free, taken = [g for g in order if of_group[g] == "train"], 0
            for group in free:
                if abs(taken + sizes[group] - target) < abs(taken - target):
                    of_group[group] = name
                    taken += sizes[group]
            if not taken and len(order) > len(held_out):
                of_group[min(free, key=lambda g: sizes[g])] = name
        part |= {(stratum, group): name for group, name in of_group.items()}
    return [part[stratum, group] for group, stratum in zip(groups, strata, strict=True)]


@given(groups_of_rows, st.integers(0, 5), st.sampled_from([("test", "val"), ("val",)]))
@settings(max_examples=100)
def test_parts_of_groups_are_those_found_row_by_row(items, seed, held_out):
    strata = [stratum for stratum, _ in items]
    groups = [f"{stratum}{group}" for stratum, group in items]
    names, group = np.unique(groups, return_inverse=True)
    sizes = np.append(np.bincount(group), 0)  # and one without a row, which counts for nothing
    names = np.append(names, "A-none")
    stratum = np.array([ord(name[0]) for name in names])
    part = assign_parts(names.item, sizes, seed, held_out, stratum)
    found = [PARTS[code] for code in part[group]]
    assert found == parts_row_by_row(groups, strata, seed, held_out)


@pytest.mark.parametrize("kind", ["host", "element", "row", "space_group:229"])
@pytest.mark.parametrize("seed", [0, 3])
def test_the_split_of_a_store_is_that_found_row_by_row(store_path, kind, seed):
    store = read_examples(Dataset.open(store_path))
    structure, variant = store.rows.T
    element, number = store.element[structure], store.space_group[structure].astype(str)
    groups = {
        "row": [f"{store.id[s]}#{v}" for s, v in zip(structure, variant, strict=True)],
        "element": element.tolist(),
    }.get(kind, [f"{e} {n}" for e, n in zip(element, number, strict=True)])
    strata = ["all"] * len(groups) if kind in ("row", "element") else number.tolist()
    held_out = ("val",) if kind == "space_group:229" else ("test", "val")
    part = np.array(parts_row_by_row(groups, strata, seed, held_out))
    if kind == "space_group:229":
        part[number == "229"] = "test"
    rows = split_rows(store, kind, seed)
    for name in PARTS:
        np.testing.assert_array_equal(rows[name], np.flatnonzero(part == name))


def test_names_whose_hashes_begin_alike_are_ordered_by_the_rest(monkeypatch):
    class Hash:
        def __init__(self, text: bytes) -> None:
            self.text = text

        def digest(self) -> bytes:
            return b"the same" + self.text.split()[1].rjust(24)

    sizes = np.ones(40, int)
    monkeypatch.setattr("train.data.splits.hashlib.sha256", Hash)
    part = assign_parts(lambda group: f"{39 - group}", sizes, 0)
    assert [PARTS[code] for code in part[::-1]] == ["test"] * 4 + ["val"] * 4 + ["train"] * 32


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_each_stratum_gives_a_tenth(seed):
    sizes, stratum = np.full(200, 4), np.repeat([0, 1], 100)
    part = assign_parts(lambda group: str(group), sizes, seed, stratum=stratum)
    for of_stratum in (part[:100], part[100:]):
        assert np.bincount(of_stratum).tolist() == [80, 10, 10]


@pytest.mark.parametrize("kind", ["host", "element", "row", "space_group:229"])
def test_rows_are_covered_once_and_never_pristine_or_quarantined(store_path, kind):
    store = read_examples(Dataset.open(store_path))
    rows = split_rows(store, kind, seed=3)
    together = np.sort(np.concatenate([rows[part] for part in PARTS]))
    np.testing.assert_array_equal(together, np.arange(len(store.rows)))
    assert (store.label[tuple(store.rows.T)] > 0).all()
    assert 1 not in store.rows[:, 0]
    assert 0 not in store.rows[:, 1]

    def keys(part: str) -> set[tuple[str, ...]]:
        structure, variant = store.rows[rows[part]].T
        by_host = {"host": store.space_group, "space_group:229": store.space_group}
        column = {**by_host, "element": 0 * store.space_group, "row": store.id}
        return {
            (store.element[s], str(column[kind][s]), str(v) if kind == "row" else "")
            for s, v in zip(structure, variant, strict=True)
        }

    assert not keys("test") & keys("train")
    assert not keys("val") & keys("train")
    assert not keys("test") & keys("val")


def test_a_space_group_is_left_out_whole_and_validation_is_of_the_others(store_path):
    store = read_examples(Dataset.open(store_path))
    rows = split_rows(store, "space_group:229", seed=0)
    group = store.space_group[store.rows[:, 0]]
    np.testing.assert_array_equal(rows["test"], np.flatnonzero(group == 229))
    assert 0.05 < len(rows["val"]) / np.count_nonzero(group != 229) < 0.2
    other_seed = split_rows(store, "space_group:229", seed=1)
    np.testing.assert_array_equal(rows["test"], other_seed["test"])
    assert not np.array_equal(rows["val"], other_seed["val"])


@pytest.mark.parametrize("split", ["host", "space_group:225"])
def test_split_does_not_depend_on_the_order_of_structures(store_path, split, tmp_path):
    store = read_examples(Dataset.open(store_path))
    order = np.random.default_rng(0).permutation(len(store.id))
    group = zarr.open_group(shutil.copytree(store_path, tmp_path / "shuffled.zarr"))
    for _, array in group.arrays():
        if array.shape[0] == len(order):
            array[:] = array[:][order]
    shuffled = read_examples(Dataset.open(tmp_path / "shuffled.zarr"))

    def test_rows(of):
        rows = split_rows(of, split, 0)
        return {(part, of.id[s], v) for part in PARTS for s, v in of.rows[rows[part]]}

    assert test_rows(store) == test_rows(shuffled)
    assert store.fingerprint != shuffled.fingerprint


def test_unknown_kind_and_too_small_store_are_refused(store_path, tmp_path, make_store):
    store = read_examples(Dataset.open(store_path))
    with pytest.raises(ValueError, match=r"not one of host, element, space_group:225, .*229, row"):
        split_rows(store, "file", 0)
    with pytest.raises(ValueError, match=r"split 'space_group:194' of .* is not one of"):
        split_rows(store, "space_group:194", 0)
    path = make_store(tmp_path / "single.zarr", hosts_per_group=1)
    zarr.open_group(path)["element"][:] = "Al"
    with pytest.raises(ValueError, match="only 1 groups"):
        split_rows(read_examples(Dataset.open(path)), "element", 0)
