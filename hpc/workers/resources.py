"""What a worker may use of its node: devices and threads are shared out among the node's workers.

Who starts a worker's computing process says which of how many workers on the node it is.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import NamedTuple

from defectgen.samples import Resources

_PLACE = "DEFECTPDF_WORKER"
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
"""Of libraries whose results may depend on how many they have."""


class Place(NamedTuple):
    """Which worker of a node's this is, from 0, and how many there are."""

    number: int
    n_workers: int

    def environment(self) -> dict[str, str]:
        """For the computing process of the worker."""
        return ONE_THREAD | {_PLACE: f"{self.number}/{self.n_workers}"}


@lru_cache(maxsize=1)
def own_resources() -> Resources:
    """The share of this computing process."""
    number, _, n_workers = os.environ.get(_PLACE, "0/1").partition("/")
    return share(Place(int(number), int(n_workers)), len(os.sched_getaffinity(0)), _n_devices())


def share(place: Place, n_threads: int, n_devices: int) -> Resources:
    """A worker's share of a node; workers take turns on devices where there are fewer."""
    threads = max(1, n_threads // place.n_workers)
    device = f"cuda:{place.number % n_devices}" if n_devices else "cpu"
    return Resources(threads, device)


def _n_devices() -> int:
    """GPUs that Slurm or the user lets this process see; without a word of that, the machine's."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([one for one in visible.split(",") if one.strip() not in ("", "-1")])
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return 0
