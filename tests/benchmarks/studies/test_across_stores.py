"""The same defects by two ways of relaxing them, and a network of one epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from runs import RELAXED_TOML, TOML, Bench

from benchmarks.studies import across_stores
from train.fitting.loop import fit
from train.problems.defects.recipes import make_recipe
from train.setup.distributed import World


@pytest.mark.slow
def test_samples_of_hosts_left_out_are_judged_store_by_store(tmp_path):
    less = RELAXED_TOML.replace('"relaxed"', '"relaxed"\namplitude = [0.5, 0.5]')
    trained, other = (Bench(tmp_path / str(i), toml) for i, toml in enumerate((RELAXED_TOML, less)))
    for bench in (trained, other):
        assert bench.generate("--limit", "40").returncode == 0
    run = tmp_path / "run"
    alone = World(0, 1, torch.device("cpu"))
    fit(trained.store, run, make_recipe("default", {"epochs": 1}), "host", 0, alone)
    itself, beside = (
        list(across_stores.lines(run, trained.store, [trained.store], [second.store]))
        for second in (trained, other)
    )
    assert [line["class"] for line in itself][:2] == ["all", "pristine"]
    known = across_stores.trained_on(run, trained.store)
    rows = across_stores.rows_of([trained.store])
    assert itself[0]["samples"] == sum(host not in known for host, _ in rows) > 0
    assert all(line["alike"] == 1 and not line["difference"] for line in itself)
    assert beside[0]["first"] == itself[0]["first"]
    assert 0.2 < beside[0]["difference"] < 2
    assert sum(line["samples"] for line in beside[1:]) == beside[0]["samples"]
    assert np.isfinite([line["second"] for line in beside]).all()


@pytest.mark.slow
def test_a_store_without_refined_hosts_is_refused(tmp_path):
    bench = Bench(tmp_path, TOML)
    assert bench.generate().returncode == 0
    with pytest.raises(ValueError, match="refine_host"):
        across_stores.rows_of([bench.store])
