"""What is refused as unlike all that a run was trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train.data.leakage import make_split
from train.data.sources import StoreSource
from train.data.store import Dataset
from train.judging.familiarity import (
    FAMILIARITY,
    REFUSED,
    Familiarity,
    Reference,
    View,
    features_of,
)
from train.models import build_model
from train.problems.defects.examples import read_examples
from train.problems.defects.inputs import PairInput, scale_pairs
from train.problems.defects.strangeness import pdf_views

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def parts(store_path) -> dict[str, torch.Tensor]:
    """Pairs of each part."""
    store = read_examples(Dataset.open(store_path))
    source = StoreSource(store, PairInput("shared"), CPU, resident=True)
    rows = make_split(store, "host", 0).rows
    return {part: source.samples(of).inputs for part, of in rows.items()}


@pytest.fixture(scope="module")
def familiarity(store_path, parts) -> Familiarity:
    torch.manual_seed(0)
    r = read_examples(Dataset.open(store_path)).points
    model = build_model("reciprocal", r.tolist(), 4)
    model.fit_inputs(parts["train"])
    return Familiarity.fit(views_of(model, r), parts["train"], parts["val"])


def views_of(model: torch.nn.Module, r: np.ndarray) -> dict[str, View]:
    return pdf_views(r.tolist()) | {"features": features_of(model)}


def farthest(familiarity: Familiarity, pairs: torch.Tensor) -> np.ndarray:
    return np.max(list(familiarity.strangeness(pairs).values()), axis=0)


def test_pairs_of_unseen_hosts_are_mostly_familiar(familiarity, parts):
    assert np.median(farthest(familiarity, parts["test"])) < REFUSED


@pytest.mark.parametrize("kind", ["noise", "wrong host", "swapped", "particle", "other host"])
def test_strangers_are_refused(familiarity, parts, store_path, kind):
    r, pairs = (
        torch.from_numpy(read_examples(Dataset.open(store_path)).points).float(),
        parts["test"],
    )
    host, defective = pairs.unbind(1)
    random = torch.Generator().manual_seed(0)
    other = {
        "noise": (host, torch.randn(host.shape, generator=random)),
        "wrong host": (host, defective.flip(0)),
        "swapped": (defective, host),
        "particle": (host, host * (1 - 1.5 * r / 40 + 0.5 * (r / 40) ** 3)),
        "other host": (torch.sin(12 * r).expand_as(host), torch.sin(12 * r).expand_as(host) * 0.95),
    }[kind]
    found = farthest(familiarity, scale_pairs(*other, "shared"))
    assert np.mean(found > REFUSED) > (0.5 if kind == "swapped" else 0.9)


def test_known_hosts_are_no_strangers_where_validation_has_the_same_hosts(familiarity, parts):
    view = familiarity._views["host"]
    reference = Reference.of(view, parts["train"], parts["train"][::2])
    assert np.isfinite(reference.distance(view.of(parts["train"]))).all()
    assert (reference.distance(view.of(parts["test"])) > REFUSED).all()


def test_a_grid_may_begin_beyond_the_first_shell(store_path, parts):
    r = read_examples(Dataset.open(store_path)).points
    beyond = r > 6
    model = build_model("reciprocal", r[beyond].tolist(), 4)
    of_part = {part: pairs[..., beyond] for part, pairs in parts.items()}
    model.fit_inputs(of_part["train"])
    found = Familiarity.fit(views_of(model, r[beyond]), of_part["train"], of_part["val"])
    assert np.median(farthest(found, of_part["test"])) < 2 * REFUSED


def test_what_is_saved_says_the_same(familiarity, parts, tmp_path):
    familiarity.save(tmp_path)
    assert (tmp_path / FAMILIARITY).stat().st_size > 1000
    again = Familiarity.load(tmp_path, familiarity._views, parts["test"][:1])
    strangeness = again.strangeness(parts["test"])
    for name, distance in familiarity.strangeness(parts["test"]).items():
        np.testing.assert_allclose(strangeness[name], distance, rtol=1e-4)
    with pytest.raises(ValueError, match=r"familiarity\.safetensors is missing"):
        Familiarity.load(tmp_path / "none", familiarity._views, parts["test"][:1])
