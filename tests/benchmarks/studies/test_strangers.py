"""The strangers that a run should refuse, on a small store and a network of one epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from runs import Bench

from benchmarks.studies.strangers import judge
from train.fitting.loop import fit
from train.problems.defects.recipes import make_recipe
from train.setup.distributed import World


@pytest.mark.slow
def test_hosts_that_are_no_crystals_are_strangers(tmp_path):
    bench = Bench(tmp_path)
    assert bench.generate().returncode == 0
    alone = World(0, 1, torch.device("cpu"))
    fit(bench.store, tmp_path / "run", make_recipe("default", {"epochs": 1}), "host", 0, alone)
    found = {row["strangers"]: row for row in judge(tmp_path / "run", bench.store, 30)}
    areas = np.array([row["largest"] for row in found.values()])
    assert found["none: the test part"]["largest"] == 0.5
    for name in ("noise twice", "amorphous host"):
        assert found[name]["host"] > 0.9
    assert found["compounds"]["n"] >= 7
    # As many of each, but for the swapped traces and the two last lines.
    fewest = min(row["n"] for row in found.values())
    assert found["all, as many of each"]["n"] == (len(found) - 3) * fewest
    assert ((areas >= 0) & (areas <= 1)).all()
