"""The order of an epoch: complete, in batches, seeded, in windows where memory asks for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.order import EpochOrder
from train.data.store import PDFStore, read_store


@pytest.fixture(scope="module")
def store(store_path) -> PDFStore:
    """Forty-eight hosts, five to a chunk."""
    return read_store(store_path)


@given(
    st.integers(1, 700), st.none() | st.integers(1, 60), st.integers(0, 5), st.sampled_from([1, 3])
)
@settings(max_examples=50, deadline=None)
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


def test_a_window_holds_few_hosts(store):
    rows = np.arange(len(store.rows))
    order = EpochOrder(store, rows, 16, 0, window=10)
    hosts = [np.unique(store.rows[w.rows.ravel(), 0]) for w in order.windows(0)]
    assert len(hosts) == 5
    # Two shards of five, and what was left of the window before, less than a batch.
    assert max(map(len, hosts)) <= 10 + 15
    assert any(np.diff(first).max() > 1 for first in hosts), "shards come in a random order"
