"""A small store in the layout of `defectpdf generate`, with toy PDFs that differ as defects do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from runs import Bench

KINDS = ("pristine", "vacancy", "self_interstitial", "substitution", "interstitial")
IMPURITY = {"substitution": 79, "interstitial": 79}
ELEMENTS = ("Al", "Ti", "Fe", "Ni", "Cu", "Zr", "Nb", "Mo")
SPACE_GROUPS = (225, 229)
HOSTS_PER_CHUNK = 5
R = np.linspace(1.5, 30, 300)


def toy_pdf(lattice: float, kind: str, fraction: float) -> np.ndarray:
    """Peaks at host shells and, for an interstitial, between them; (300,) in 1/A^2."""
    host, between = (
        sum(
            weight * np.exp(-((R - distance) ** 2) / (2 * width**2))
            for distance in lattice * np.sqrt(np.arange(1, 60) + offset)
        )
        for offset, weight, width in ((0.0, 8.0, 0.2), (0.5, 8.0, 0.2))
    )
    changed = {
        "pristine": host,
        "vacancy": (1 - fraction) * host,
        "self_interstitial": (1 - fraction) * host + 2 * fraction * between,
        "substitution": host + fraction * np.gradient(np.gradient(host)),
        "interstitial": (1 - 3 * fraction) * host + 2 * fraction * between,
    }[kind]
    return changed - 0.3 * R


def write_store(path: Path, hosts_per_group: int = 3, ids: list[str] | None = None) -> Path:
    """Every element in both space groups; one host's id can be replaced, one host fails."""
    random = np.random.default_rng(0)
    hosts = [
        (f"{element}-{number}-{k}", element, number)
        for number in SPACE_GROUPS
        for element in ELEMENTS
        for k in range(hosts_per_group)
    ]
    # Far enough from each other that no two hosts are lookalikes.
    lattices = random.permutation(np.linspace(2.4, 3.4, len(hosts)))
    kinds = ["pristine"] + [kind for kind in KINDS[1:] for _ in range(3)]
    fraction = random.uniform(0.03, 0.1, (len(hosts), len(kinds))) * (np.array(kinds) != KINDS[0])
    g = [
        [toy_pdf(lattice, kind, x) for kind, x in zip(kinds, row, strict=True)]
        for lattice, row in zip(lattices, fraction, strict=True)
    ]
    label = np.tile([KINDS.index(kind) for kind in kinds], (len(hosts), 1))
    g, label = np.array(g, np.float32), label.astype(np.int8)
    g[1], label[1] = np.nan, -1  # a quarantined host
    group = zarr.open_group(path, mode="w")
    rows = ("structure", "variant")
    columns = {
        "g": (g, (*rows, "r")),
        "r": (R, ("r",)),
        "label": (label, rows),
        "concentration": (fraction.astype(np.float32), rows),
        "impurity": (np.tile([IMPURITY.get(k, 0) for k in kinds], (len(hosts), 1)), rows),
        "n_atoms": (np.full(label.shape, 500, np.int32), rows),
        "id": (np.array(ids or [host[0] for host in hosts]), rows[:1]),
        "element": (np.array([host[1] for host in hosts]), rows[:1]),
        "origin": (np.array(["<b>toy</b>"] * len(hosts)), rows[:1]),
        "space_group": (np.array([host[2] for host in hosts], np.int16), rows[:1]),
    }
    for name, (values, dimensions) in columns.items():
        values = values.astype(np.uint8) if name == "impurity" else values
        values = values.astype(np.dtypes.StringDType()) if values.dtype.kind == "U" else values
        chunks = (HOSTS_PER_CHUNK, *values.shape[1:]) if name == "g" else "auto"
        group.create_array(name, data=values, chunks=chunks, dimension_names=dimensions)
    group["label"].attrs.update(flag_values=list(range(5)), flag_meanings=" ".join(KINDS))
    group.attrs["run"] = {"seed": 0, "note": "<script>alert(1)</script>"}
    return path


@pytest.fixture(scope="session")
def make_store() -> Callable[..., Path]:
    return write_store


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "toy.zarr")


@pytest.fixture(scope="session")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the hosts and settings from which its rows can be drawn anew."""
    bench = Bench(tmp_path_factory.mktemp("real"))
    assert bench.generate().returncode == 0
    return bench.store
