"""The order of an epoch: complete, in batches, seeded, in windows where memory asks for them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.order import LANES, EpochOrder
from train.data.store import Dataset
from train.problems.defects.examples import DefectExamples, read_examples


@pytest.fixture(scope="module")
def store(store_path) -> DefectExamples:
    """Forty-eight hosts, five to a chunk."""
    return read_examples(Dataset.open(store_path))


@given(
    st.integers(1, 700), st.none() | st.integers(1, 60), st.integers(0, 5), st.sampled_from([1, 3])
)
@settings(max_examples=50)
def test_an_epoch_has_every_row_at_most_once(store, batch_size, window, epoch, every):
    rows = np.arange(0, len(store.rows), every)
    order = EpochOrder(store, rows, batch_size, 0, window)
    windows = list(order.windows(epoch))
    taken = np.concatenate([w.rows.ravel() for w in windows])
    assert {w.rows.shape[1] for w in windows} == {min(batch_size, len(rows))}
    assert sum(len(w.rows) for w in windows) == order.batches
    assert len(rows) - batch_size < len(taken) == len(np.unique(taken))
    assert np.isin(taken, rows).all()
    assert all(w.random.shape == w.rows.shape for w in windows)
    again = [w.rows for w in order.windows(epoch)]
    np.testing.assert_array_equal(np.concatenate(again).ravel(), taken)


def test_epochs_and_seeds_have_orders_of_their_own(store):
    rows = np.arange(len(store.rows))

    def first(seed: int, epoch: int) -> list[int]:
        return next(EpochOrder(store, rows, 64, seed, None).windows(epoch)).rows[0].tolist()

    assert first(0, 0) != first(0, 1)
    assert first(0, 0) != first(1, 0)


def test_a_window_of_one_lane_holds_few_hosts(store):
    rows = np.arange(len(store.rows))
    order = EpochOrder(store, rows, 16, 0, window=10)
    assert order.lanes == 1
    hosts = [np.unique(store.rows[w.rows.ravel(), 0]) for w in order.windows(0)]
    assert len(hosts) == 5
    # Two shards of five, and what was left of the window before, less than a batch.
    assert max(map(len, hosts)) <= 10 + 15
    assert any(np.diff(first).max() > 1 for first in hosts), "shards come in a random order"


@given(st.integers(1, 90), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=40)
def test_without_a_window_the_order_is_one_permutation(store, batch_size, seed, epoch):
    rows = np.arange(0, len(store.rows), 2)
    (window,) = EpochOrder(store, rows, batch_size, seed, None).windows(epoch)
    random = np.random.default_rng((seed, epoch))
    used = len(rows) - len(rows) % batch_size
    np.testing.assert_array_equal(window.rows.ravel(), random.permutation(rows)[:used])
    factors = random.uniform(-1, 1, len(rows))[:used]
    np.testing.assert_array_equal(window.random.ravel(), factors)


def uneven_store(n_hosts: int, shard: int, seed: int) -> SimpleNamespace:
    """Hosts of none to twelve rows."""
    count = np.random.default_rng(seed).integers(0, 13, n_hosts)
    rows = [(host, variant) for host in range(n_hosts) for variant in range(count[host])]
    return SimpleNamespace(rows=np.array(rows), block_size=shard)


@given(
    st.integers(150, 400),
    st.integers(1, 7),
    st.integers(5, 60),
    st.sampled_from([16, 24, 30, 48, 64]),
    st.integers(0, 5),
)
@settings(max_examples=60)
def test_lanes_keep_batches_whole_and_shards_apart(n_hosts, shard, at_once, batch_size, seed):
    store = uneven_store(n_hosts, shard, seed)
    rows = np.arange(len(store.rows))
    order = EpochOrder(store, rows, batch_size, seed, at_once * shard)
    assert 1 <= order.lanes <= LANES
    windows = list(order.windows(1))
    taken = np.concatenate([w.rows.ravel() for w in windows])
    assert len(taken) == len(np.unique(taken)) == order.batches * batch_size
    columns = np.arange(batch_size) % order.lanes
    shards_of_lane = [set() for _ in range(order.lanes)]
    for number, window in enumerate(windows):
        for lane, held in enumerate(window.held):
            assert np.isin(window.rows[:, columns == lane], held).all()
            if number < len(windows) - 1:  # the last is levelled
                shards_of_lane[lane] |= set((store.rows[held, 0] // shard).tolist())
        hosts = np.unique(store.rows[np.concatenate(window.held), 0])
        assert len(hosts) <= max(at_once, 1) * shard + batch_size
    assert sum(map(len, shards_of_lane)) == len(set().union(*shards_of_lane)), (
        "a shard in two lanes"
    )


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_processes_share_lanes_and_columns(size):
    store = uneven_store(300, 5, 0)
    order = EpochOrder(store, np.arange(len(store.rows)), 64, 0, 200)
    assert order.lanes == 16
    lanes = [order.lanes_of(rank, size) for rank in range(size)]
    columns = [order.columns_of(rank, size) for rank in range(size)]
    assert sorted(np.concatenate(lanes)) == list(range(16))
    assert sorted(np.concatenate(columns)) == list(range(64))
    for of_rank, at in zip(lanes, columns, strict=True):
        assert set(at % 16) == set(of_rank)
    assert min(map(len, columns)) == order.fewest_rows(size)


def test_more_processes_than_lanes_are_refused():
    store = uneven_store(300, 5, 0)
    rows = np.arange(len(store.rows))
    with pytest.raises(ValueError, match=r"17 processes cannot share 16 lanes of shards.*multiple"):
        EpochOrder(store, rows, 64, 0, 200).lanes_of(0, 17)
    EpochOrder(store, rows, 64, 0, None).lanes_of(0, 17)
