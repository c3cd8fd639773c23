from __future__ import annotations

from pathlib import Path

import pytest
from runs import Bench


@pytest.fixture(scope="session")
def oracle(tmp_path_factory) -> Path:
    """The store that one serial run, undisturbed, makes of the small description."""
    bench = Bench(tmp_path_factory.mktemp("oracle"))
    assert bench.generate().returncode == 0
    return bench.store


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)
