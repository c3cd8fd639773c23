"""Signatures: exact where arrays are short, near where they are projected, in blocks."""

from __future__ import annotations

import numpy as np
import pytest

from train.data import signatures as module
from train.data.signatures import SIGNATURE_SIZE, nearest, signatures


def of_arrays(arrays: np.ndarray, chunk: int = 3) -> np.ndarray:
    return signatures(lambda a, b: arrays[a:b], len(arrays), arrays.shape[1:], chunk)


def test_short_arrays_are_their_own_signatures():
    arrays = np.random.default_rng(0).normal(size=(10, 2, 256)).astype(np.float32)
    np.testing.assert_array_equal(of_arrays(arrays), arrays.reshape(10, 512))


def test_distances_of_projected_arrays_have_the_error_that_is_stated():
    random = np.random.default_rng(0)
    images = random.normal(size=(60, 90, 70)).astype(np.float32)
    found = of_arrays(images)
    assert found.shape == (60, SIGNATURE_SIZE)
    one, other = np.triu_indices(60, 1)
    true = np.linalg.norm((images[one] - images[other]).reshape(len(one), -1), axis=1)
    ratio = np.linalg.norm(found[one] - found[other], axis=1) / true
    assert ratio.mean() == pytest.approx(1, abs=0.02)
    assert ratio.std() == pytest.approx(1 / np.sqrt(2 * SIGNATURE_SIZE), rel=0.25)
    assert np.abs(ratio - 1).max() < 0.12


def test_signatures_do_not_depend_on_the_blocks_and_read_whole_chunks(monkeypatch):
    images = np.random.default_rng(0).normal(size=(20, 40, 50)).astype(np.float32)
    whole = of_arrays(images)
    asked = []

    def read(start: int, stop: int) -> np.ndarray:
        asked.append((start, stop))
        return images[start:stop]

    monkeypatch.setattr(module, "_READ_AT_ONCE", 7 * 4 * 2000)
    in_blocks = signatures(read, 20, (40, 50), 3)
    assert asked == [(0, 6), (6, 12), (12, 18), (18, 20)]
    np.testing.assert_allclose(in_blocks, whole, rtol=1e-4, atol=1e-4)


def test_nearest_is_that_of_all_distances():
    found = np.random.default_rng(0).normal(size=(12, 300))
    some, others = np.array([0, 4, 7]), np.array([2, 3, 9, 11])
    distance, place = nearest(found, some, others)
    each = np.linalg.norm(found[some, None] - found[others], axis=2)
    np.testing.assert_array_equal(place, others[each.argmin(1)])
    np.testing.assert_allclose(distance, each.min(1) / np.linalg.norm(found[some], axis=1))
