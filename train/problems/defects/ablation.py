"""How a network does when parts of the change along r or Q are zero: no gradients involved."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch

from train.problems.defects.attribution import Along, Network, logits_of

EDGES = {"r": (0.0, 4.0, 8.0, 15.0, 30.0), "q": (0.0, 4.0, 8.0, 12.0, 25.0)}
"""A or 1/A. The last window has all that is beyond, too."""
UNITS = {"r": "Å", "q": "1/Å"}


def windows(along: Along, points: np.ndarray) -> dict[str, np.ndarray]:
    """(K,) by name, whether points, A or 1/A, are in a window; those that have any."""
    edges = EDGES[along]
    place = np.digitize(points, edges[1:-1])
    named = {f"{a:g}-{b:g} {UNITS[along]}": place == k for k, (a, b) in enumerate(pairwise(edges))}
    return {name: of for name, of in named.items() if of.any()}


def ablate(
    network: Network, pairs: torch.Tensor, parts: Mapping[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """What rows are taken for when the change is zero in a part, or everywhere else.

    Args:
        pairs: (n, 2, K).
        parts: by name, (K,) or (n, K) bool.

    Returns:
        `without` and `alone`: by name, (n,) classes.
    """
    host, change = pairs[:, 0], pairs[:, 1] - pairs[:, 0]

    def predict(kept: np.ndarray) -> np.ndarray:
        left = change * torch.from_numpy(kept).to(change.device)
        logits = logits_of(network, torch.stack([host, host + left], dim=1))
        return logits.argmax(1).cpu().numpy()

    return {
        "without": {name: predict(~points) for name, points in parts.items()},
        "alone": {name: predict(points) for name, points in parts.items()},
    }
