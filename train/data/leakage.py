"""Splits without near-duplicates: no crystal of a held-out part is in training under another name.

G(r) of a pristine elemental crystal does not depend on the element, as all its atoms scatter
alike. So hosts of two metals whose cells and displacements nearly agree have nearly the same
pristine PDF, and with it the same variants, whatever their ids say. Distances are |a - b| / |a|
of the signatures of un-normalised pristine traces (L2 over the points of r, up to 512 of them as
they are); docs/protocol.md has measured ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from train.data.signatures import nearest, signatures
from train.data.splits import PARTS, split_rows
from train.data.store import PDFStore, require_finite

SAME_CRYSTAL = 0.005
"""Nearer hosts are one crystal, entered twice: in the embedded library 95 of 100 cells move their
PDF farther by a strain of 1e-4, at which the library's builder takes two cells for one."""
LOOKALIKE = 0.02
"""Nearer hosts give PDFs as like each other as those of one host with other defects are."""
QUANTILES = (0.0, 0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Split:
    rows: dict[str, np.ndarray]
    """By part, ascending positions in `PDFStore.rows`."""
    leakage: dict[str, Any]
    """What the parts share: `val` and `test` as of `_leakage_of`; `left_out` of training, ids."""
    signatures: np.ndarray
    """(S, k) float32 of the pristine traces, as of `train.data.signatures`."""


def make_split(store: PDFStore, split: str, seed: int) -> Split:
    """The split of `split_rows`, less the training hosts that look like a held-out one.

    The row split is left as it is: it leaks by construction.

    Raises:
        ValueError: two parts hold the same crystal, all PDFs are of one class, or as of
            `split_rows`.
    """
    if len(np.unique(store.target)) < 2:
        raise ValueError(
            f"{store.path} has PDFs of {store.classes[store.target[0]]} only, from which there is "
            "nothing to tell apart: generate more kinds, or train with --set pristine=true"
        )
    rows = split_rows(store, split, seed)
    hosts = {part: np.unique(store.rows[rows[part], 0]) for part in PARTS}
    pristine = _signatures_of_hosts(store)
    left_out = np.array([], dtype=int)
    if split != "row":
        _refuse_same_crystals(store, hosts, pristine)
        held_out = np.union1d(hosts["val"], hosts["test"])
        distance, _ = nearest(pristine, hosts["train"], held_out)
        left_out = hosts["train"][distance < LOOKALIKE]
        rows["train"] = rows["train"][~np.isin(store.rows[rows["train"], 0], left_out)]
        hosts["train"] = np.setdiff1d(hosts["train"], left_out)
        if not len(hosts["train"]):
            raise ValueError(
                f"the {split} split of {store.path} leaves nothing to train on: all training "
                f"hosts are within {LOOKALIKE:.0%} of a held-out one; use a more varied library"
            )
    leakage: dict[str, Any] = {
        part: _leakage_of(pristine, hosts[part], hosts["train"]) for part in ("val", "test")
    }
    return Split(rows, leakage | {"left_out": store.id[left_out].tolist()}, pristine)


def _signatures_of_hosts(store: PDFStore) -> np.ndarray:
    """(S, k) of the pristine traces, read some whole chunks at a time."""

    def read(start: int, stop: int) -> np.ndarray:
        structures = np.arange(start, stop)
        g = store.read(structures, slice(1))
        require_finite(store, structures, g)
        return g[:, 0]

    return signatures(read, len(store.id), store.g.shape[2:], store.g.chunks[0])


def _refuse_same_crystals(
    store: PDFStore, hosts: dict[str, np.ndarray], pristine: np.ndarray
) -> None:
    for part, other in (("test", "train"), ("val", "train"), ("test", "val")):
        distance, twin = nearest(pristine, hosts[part], hosts[other])
        same = np.flatnonzero(distance < SAME_CRYSTAL)
        if len(same):
            first = same[0]
            more = f" (and {len(same) - 1} more such hosts)" if len(same) > 1 else ""
            raise ValueError(
                f"{store.path} leaks from {other} to {part}: host "
                f"{_name(store, hosts[part][first])} of {part} and "
                f"{_name(store, twin[first])} of {other} are the same crystal, their pristine "
                f"G(r) differ by {distance[first]:.2%}, less than {SAME_CRYSTAL:.1%}{more}; "
                "take one of them out of the library"
            )


def _name(store: PDFStore, host: int) -> str:
    return f"{store.id[host]} ({store.element[host]}, {store.space_group[host]})"


def _leakage_of(pristine: np.ndarray, hosts: np.ndarray, training: np.ndarray) -> dict[str, Any]:
    """How many hosts of a part there are, how many also train, quantiles of the nearest one."""
    distance, _ = nearest(pristine, hosts, training)
    return {
        "hosts": len(hosts),
        "hosts_in_training": int(np.isin(hosts, training).sum()),
        "nearest_training_host": {
            f"{100 * level:g} %": round(float(np.quantile(distance, level)), 6)
            for level in QUANTILES
        },
    }
