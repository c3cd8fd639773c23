"""Splits without near-duplicates: no structure of a held-out part is in training by another name.

G(r) of a pristine elemental crystal, say, does not depend on the element, as all its atoms scatter
alike. So hosts of two metals whose cells and displacements nearly agree have nearly the same
pristine PDF, and with it the same variants, whatever their ids say. Distances are |a - b| / |a|
of the signatures (L2) of what a problem names for that; docs/protocol.md has measured ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from train.data.examples import Examples
from train.data.signatures import nearest, signatures
from train.data.splits import PARTS, split_rows

SAME_CRYSTAL = 0.005
"""Nearer hosts are one crystal, entered twice: in the embedded library 95 of 100 cells move their
PDF farther by a strain of 1e-4, at which the library's builder takes two cells for one."""
LOOKALIKE = 0.02
"""Nearer hosts give PDFs as like each other as those of one host with other defects are."""
QUANTILES = (0.0, 0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Split:
    rows: dict[str, np.ndarray]
    """By part, ascending positions in `Examples.rows`."""
    leakage: dict[str, Any]
    """What the parts share: `val` and `test` as of `_leakage_of`; `left_out` of training, ids."""
    signatures: np.ndarray
    """(S, k) float32 as of `train.data.signatures`; k is 0 where nothing is compared."""


def make_split(examples: Examples, split: str, seed: int) -> Split:
    """The split of `split_rows`, less the training hosts that look like a held-out one.

    One that leaks on purpose is left as it is.

    Raises:
        ValueError: two parts hold the same crystal, or as of `split_rows`.
    """
    rows = split_rows(examples, split, seed)
    hosts = {part: np.unique(examples.rows[rows[part], 0]) for part in PARTS}
    found = _signatures_of(examples)
    left_out = np.array([], dtype=int)
    if found.size and not examples.splits[split].leaks:
        _refuse_same_crystals(examples, hosts, found)
        held_out = np.union1d(hosts["val"], hosts["test"])
        distance, _ = nearest(found, hosts["train"], held_out)
        left_out = hosts["train"][distance < LOOKALIKE]
        rows["train"] = rows["train"][~np.isin(examples.rows[rows["train"], 0], left_out)]
        hosts["train"] = np.setdiff1d(hosts["train"], left_out)
        if not len(hosts["train"]):
            raise ValueError(
                f"the {split} split of {examples.path} leaves nothing to train on: all training "
                f"hosts are within {LOOKALIKE:.0%} of a held-out one; use a more varied library"
            )
    leakage: dict[str, Any] = {
        part: _leakage_of(found, hosts[part], hosts["train"]) for part in ("val", "test")
    }
    return Split(rows, leakage | {"left_out": examples.id[left_out].tolist()}, found)


def _signatures_of(examples: Examples) -> np.ndarray:
    """(S, k) of the structures as they are, read some whole chunks at a time."""
    if examples.signature is None:
        return np.empty((examples.n_structures, 0), np.float32)
    name = examples.signature.array

    def read(start: int, stop: int) -> np.ndarray:
        return examples.read(name, np.arange(start, stop), slice(1))[:, 0]

    array = examples.data.array(name)
    return signatures(read, examples.n_structures, array.shape[2:], array.chunks[0])


def _refuse_same_crystals(
    examples: Examples, hosts: dict[str, np.ndarray], found: np.ndarray
) -> None:
    assert examples.signature
    for part, other in (("test", "train"), ("val", "train"), ("test", "val")):
        distance, twin = nearest(found, hosts[part], hosts[other])
        same = np.flatnonzero(distance < SAME_CRYSTAL)
        if len(same):
            first = same[0]
            more = f" (and {len(same) - 1} more such hosts)" if len(same) > 1 else ""
            raise ValueError(
                f"{examples.path} leaks from {other} to {part}: host "
                f"{examples.described(hosts[part][first])} of {part} and "
                f"{examples.described(twin[first])} of {other} are the same crystal, their "
                f"{examples.signature.title} differ by {distance[first]:.2%}, less than "
                f"{SAME_CRYSTAL:.1%}{more}; take one of them out of the library"
            )


def _leakage_of(found: np.ndarray, hosts: np.ndarray, training: np.ndarray) -> dict[str, Any]:
    """How many hosts of a part there are, how many also train, quantiles of the nearest one."""
    leakage = {"hosts": len(hosts), "hosts_in_training": int(np.isin(hosts, training).sum())}
    if not found.size:
        return leakage
    distance, _ = nearest(found, hosts, training)
    return leakage | {
        "nearest_training_host": {
            f"{100 * level:g} %": round(float(np.quantile(distance, level)), 6)
            for level in QUANTILES
        },
    }
