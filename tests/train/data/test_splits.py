from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.splits import PARTS, assign_parts, split_rows
from train.data.store import read_store

items = st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 30)), min_size=1, max_size=200)


@given(items, st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_groups_stay_together_whatever_the_order(items, seed, random):
    strata = [stratum for stratum, _ in items]
    groups = [f"{stratum}{group}" for stratum, group in items]
    part = assign_parts(groups, strata, seed)
    assert len(part) == len(items)
    assert set(part) <= set(PARTS)
    of_group = dict(zip(groups, part, strict=True))
    assert part == [of_group[group] for group in groups]

    order = list(range(len(items)))
    random.shuffle(order)
    shuffled = assign_parts([groups[k] for k in order], [strata[k] for k in order], seed)
    assert shuffled == [part[k] for k in order]


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_each_stratum_gives_a_tenth(seed):
    groups = [f"{stratum}{k // 4}" for stratum in "AB" for k in range(400)]
    part = np.array(assign_parts(groups, [group[0] for group in groups], seed))
    for stratum in (part[:400], part[400:]):
        assert np.count_nonzero(stratum == "test") == 40
        assert np.count_nonzero(stratum == "val") == 40


@pytest.mark.parametrize("kind", ["host", "element", "row", "space_group:229"])
def test_rows_are_covered_once_and_never_pristine_or_quarantined(store_path, kind):
    store = read_store(store_path)
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
    store = read_store(store_path)
    rows = split_rows(store, "space_group:229", seed=0)
    group = store.space_group[store.rows[:, 0]]
    np.testing.assert_array_equal(rows["test"], np.flatnonzero(group == 229))
    assert 0.05 < len(rows["val"]) / np.count_nonzero(group != 229) < 0.2
    other_seed = split_rows(store, "space_group:229", seed=1)
    np.testing.assert_array_equal(rows["test"], other_seed["test"])
    assert not np.array_equal(rows["val"], other_seed["val"])


@pytest.mark.parametrize("split", ["host", "space_group:225"])
def test_split_does_not_depend_on_the_order_of_structures(store_path, split):
    store = read_store(store_path)
    order = np.random.default_rng(0).permutation(len(store.id))
    names = ("g", "label", "concentration", "impurity", "id", "element", "origin", "space_group")
    shuffled = replace(store, **{name: getattr(store, name)[order] for name in names})

    def test_rows(of):
        rows = split_rows(of, split, 0)
        return {(part, of.id[s], v) for part in PARTS for s, v in of.rows[rows[part]]}

    assert test_rows(store) == test_rows(shuffled)
    assert store.fingerprint != shuffled.fingerprint


def test_unknown_kind_and_too_small_store_are_refused(store_path, tmp_path, make_store):
    store = read_store(store_path)
    with pytest.raises(ValueError, match=r"not one of host, element, space_group:225, .*229, row"):
        split_rows(store, "file", 0)
    with pytest.raises(ValueError, match=r"split 'space_group:194' of .* is not one of"):
        split_rows(store, "space_group:194", 0)
    single = replace(store, element=np.full_like(store.element, "Al"))
    with pytest.raises(ValueError, match="only 1 groups"):
        split_rows(single, "element", 0)
