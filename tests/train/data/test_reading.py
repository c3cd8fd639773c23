"""Reading ahead: once each, in a thread that ends, and in bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

from train.data.reading import Share, hosts_at_once, read_ahead

ARRAYS = np.random.default_rng(0).normal(size=(40, 2, 3, 4)).astype(np.float32)
LIKE = {"image": ARRAYS[:0], "number": np.empty((0,), np.int64)}
NO_ROWS = np.empty(0, np.int64)


def arrays_of(structures: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": ARRAYS[structures], "number": 10 * structures}


def shares_of(*structures: list[int]) -> list[Share]:
    return [Share(NO_ROWS, np.array(some)) for some in structures]


def test_every_share_gets_its_arrays_and_each_is_read_once():
    asked = []

    def read(structures: np.ndarray) -> dict[str, np.ndarray]:
        asked.append(structures.tolist())
        return arrays_of(structures)

    wanted = shares_of([0, 1, 2, 7, 8], [2, 8, 9, 30], [9, 31])
    found = list(read_ahead(wanted, read, LIKE, 4))
    for share, held in found:
        for name, values in arrays_of(share.structures).items():
            assert held.arrays[name].dtype == LIKE[name].dtype
            np.testing.assert_array_equal(held.arrays[name], values)
            np.testing.assert_array_equal(held.of(share.structures[::-1])[name], values[::-1])
    assert asked == [[0, 1, 2], [7], [8], [9], [30], [31]]
    assert list(read_ahead([], read, LIKE, 4)) == []


def test_the_next_share_is_read_while_the_present_one_is_used():
    begun = threading.Event()

    def read(structures: np.ndarray) -> dict[str, np.ndarray]:
        if 20 in structures:
            begun.set()
        return arrays_of(structures)

    ahead = read_ahead(shares_of([0], [20]), read, LIKE, 4)
    next(ahead)
    assert begun.wait(10)
    ahead.close()


def test_what_fails_in_the_thread_is_raised_here_and_the_thread_ends():
    def read(structures: np.ndarray) -> dict[str, np.ndarray]:
        if 20 in structures:
            raise ValueError("a.zarr is damaged")
        return arrays_of(structures)

    ahead = read_ahead(shares_of([0], [20], [30]), read, LIKE, 4)
    next(ahead)
    with pytest.raises(ValueError, match=r"a\.zarr is damaged"):
        next(ahead)
    assert not any("read-ahead" in thread.name for thread in threading.enumerate())


def test_closing_ends_the_thread_after_the_shard_in_work():
    asked = []

    def read(structures: np.ndarray) -> dict[str, np.ndarray]:
        asked.append(structures)
        time.sleep(0.05)
        return arrays_of(structures)

    ahead = read_ahead(shares_of([0], list(range(40))), read, LIKE, 4)
    next(ahead)
    ahead.close()
    assert not any("read-ahead" in thread.name for thread in threading.enumerate())
    assert len(asked) < 5


def test_two_windows_are_within_the_budget():
    assert hosts_at_once(1000, 10, 4) == 48
    assert hosts_at_once(10, 10, 4) == 4


IMAGES = """
import resource, sys
import numpy as np
from train.data.examples import Examples, Grouping, Reading
from train.data.order import EpochOrder
from train.data.reading import Share, hosts_at_once, read_ahead
from train.data.store import Dataset

data = Dataset.open(sys.argv[1])
present = np.arange(5) > np.zeros((len(data.id), 1))
rows = np.argwhere(present)
hosts = Grouping.by(data.id[rows[:, 0]], "hosts stay whole")
examples = Examples(
    data, rows, (Reading("image"),), {}, {"host": hosts}, "", present, data.id.item
)
budget = 24 << 20
window = hosts_at_once(budget, examples.bytes_per_structure, examples.block_size)
order = EpochOrder(examples, np.arange(len(rows)), 32, 0, window)

def shares():
    for window in order.windows(0):
        structures = np.unique(rows[np.concatenate(window.held), 0])
        yield Share(window.rows.ravel(), structures)

def read(structures):
    return {"image": examples.read("image", structures)}

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

read(np.arange(examples.block_size))  # what zarr itself needs
before, seen = peak(), 0
for share, held in read_ahead(shares(), read, {"image": data.empty("image")}, examples.block_size):
    for s, v in rows[share.rows]:
        image = held.of(s)["image"][v]
        assert image[0, 0] == 10 * s + v and image.shape == data.array("image").shape[2:]
    seen += len(share.rows)
assert order.lanes > 1 and seen == order.batches * 32
print(peak() - before)
"""


def write_images(path: Path, n_hosts: int, shape: tuple[int, ...]) -> int:
    """A store whose images (V, y, x) are flat, of a value that tells which they are; its bytes."""
    group = zarr.open_group(path, mode="w")
    images = group.create_array(
        "image", shape=(n_hosts, *shape), chunks=(1, *shape), shards=(4, *shape), dtype="f4"
    )
    for start in range(0, n_hosts, 4):
        number = np.add.outer(10.0 * np.arange(start, start + 4), np.arange(shape[0]))
        images[start : start + 4] = np.broadcast_to(number[..., None, None], (4, *shape))
    names = np.array([f"host-{k}" for k in range(n_hosts)]).astype(np.dtypes.StringDType())
    group.create_array("id", data=names)
    return 4 * n_hosts * int(np.prod(shape))


@pytest.mark.slow
def test_images_larger_than_the_budget_are_read_within_it(tmp_path):
    size = write_images(tmp_path / "images.zarr", 320, (5, 180, 180))
    assert size > 200e6
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    environment["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, "-c", IMAGES, tmp_path / "images.zarr"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 1.5 * (24 << 20)
