from __future__ import annotations

from pathlib import Path

import pytest

from train.problems.defects.sites import require_sites

RELAXED = {"stage": [{"name": "relaxed"}]}


def test_samples_that_were_changed_before_they_were_stored_are_refused():
    stored = {"source": {"store": {"origin": RELAXED}}}
    with pytest.raises(ValueError, match=r"metals\.zarr: its samples were changed by relaxed, and"):
        require_sites(Path("metals.zarr"), stored)
    with pytest.raises(ValueError, match="changed by relaxed, thermal, and fresh draws"):
        require_sites(Path("metals.zarr"), stored | {"stage": [{"name": "thermal"}]})


@pytest.mark.parametrize("description", [{}, {"source": {"toy": {}}}, {"source": {"store": {}}}])
def test_others_are_not(description):
    require_sites(Path("metals.zarr"), description)
