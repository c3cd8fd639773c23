"""Devices and threads of a node are shared out among its workers."""

from __future__ import annotations

import pytest

from defectgen.samples import Resources
from hpc.workers.resources import Place, share


@pytest.mark.parametrize(
    ("place", "n_threads", "n_devices", "expected"),
    [
        (Place(0, 1), 16, 0, Resources(16, "cpu")),
        (Place(2, 3), 16, 0, Resources(5, "cpu")),
        (Place(5, 32), 16, 0, Resources(1, "cpu")),
        (Place(3, 4), 16, 4, Resources(4, "cuda:3")),
        (Place(5, 8), 16, 4, Resources(2, "cuda:1")),
    ],
)
def test_each_worker_has_its_share(place, n_threads, n_devices, expected):
    assert share(place, n_threads, n_devices) == expected


def test_computing_processes_are_told_their_place_and_one_thread_for_libraries():
    environment = Place(1, 2).environment()
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["DEFECTPDF_WORKER"] == "1/2"
