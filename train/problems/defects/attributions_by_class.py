"""What attributions say, by class: numbers, and which rows go together in a figure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from defectgen.hosts.host import Host
from train.problems.defects.attribution import Along
from train.problems.defects.landmarks import Landmarks


@dataclass(frozen=True)
class Attributions:
    """Attributions of n rows over K points, and the rows' H hosts."""

    along: Along
    points: np.ndarray  # (K,) A or 1/A
    classes: tuple[str, ...]
    target: np.ndarray  # (n,) class
    attribution: np.ndarray  # (n, K) nats
    change: np.ndarray  # (n, K) of the scaled G(r) or F(Q)
    gain: np.ndarray  # (n,) nats, what the attributions should sum to
    ablated: dict[str, dict[str, np.ndarray]]
    """Classes by `ablate`, of all, of windows and of the regions."""
    place: np.ndarray  # (n,) index of the row's host
    hosts: tuple[Host, ...]
    landmarks: tuple[Landmarks, ...]
    regions: dict[str, np.ndarray]  # by name, (n, K) bool: those of `Landmarks`

    @property
    def shown(self) -> dict[str, np.ndarray]:
        """(n,) bool by class, of those that have rows."""
        named = {name: self.target == k for k, name in enumerate(self.classes)}
        return {name: of for name, of in named.items() if of.any()}

    def summary(self) -> dict[str, Any]:
        error = np.abs(self.attribution.sum(1) - self.gain)
        return {
            "along": self.along,
            "n": len(self.target),
            "completeness": {
                "mean_error": float(error.mean()),
                "largest_error": float(error.max()),
                "mean_gain": float(np.abs(self.gain).mean()),
            },
            "per_class": {name: self._of_class(of) for name, of in self.shown.items()},
            "accuracy": {
                how: {part: self._accuracy(predicted) for part, predicted in parts.items()}
                for how, parts in self.ablated.items()
            },
        }

    def _accuracy(self, predicted: np.ndarray) -> dict[str, float]:
        right = predicted == self.target
        return {name: float(right[of].mean()) for name, of in self.shown.items()}

    def _of_class(self, of: np.ndarray) -> dict[str, Any]:
        share, changed = shares(self.attribution[of]), shares(self.change[of])
        return {
            "n": int(of.sum()),
            "gain": float(np.median(self.gain[of])),
            "absolute": float(np.median(np.abs(self.attribution[of]).sum(1))),
            "regions": {
                name: {
                    "points": float(inside[of].mean()),
                    "change": float((changed * inside[of]).sum(1).mean()),
                    "attribution": float((share * inside[of]).sum(1).mean()),
                }
                for name, inside in self.regions.items()
            },
        }

    def structure_types(self, most: int) -> dict[str, list[int]]:
        """Hosts by space group and occupied positions, the types with the most rows first."""
        named = [
            f"{host.space_group}, {' '.join(sorted(set(host.wyckoff)))}" for host in self.hosts
        ]
        common = Counter(named[k] for k in self.place).most_common(most)
        return {name: [k for k, of in enumerate(named) if of == name] for name, _ in common}


def shares(values: np.ndarray) -> np.ndarray:
    """Absolute values (n, K) as fractions of their row's sum."""
    size = np.abs(values)
    return size / np.maximum(size.sum(1, keepdims=True), np.finfo(size.dtype).tiny)
