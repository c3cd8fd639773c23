"""What a run's network looks at, on a part of its split: numbers by class, and what to draw."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from defectgen.hosts.host import Host
from defectgen.hosts.library import open_library
from train.data.sources import StoreSource
from train.data.store import Dataset
from train.problems.defects.ablation import ablate, windows
from train.problems.defects.attribution import (
    Along,
    Network,
    integrated_gradients,
    log_odds_gain,
    network_along_q,
    network_along_r,
    points_of_q,
)
from train.problems.defects.examples import DefectExamples
from train.problems.defects.landmarks import Landmarks, landmarks_along_q, landmarks_along_r
from train.runs.rundir import load_model, read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from train.problems.defects.problem import Defects

ALL = "all"


@dataclass(frozen=True)
class Explanation:
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

    def figure(self) -> Figure:
        """Attributions averaged by class and structure type."""
        from train.problems.defects.explanation_figure import attribution_figure

        return attribution_figure(self)

    def print(self, title: str) -> None:
        """The summary for a terminal."""
        from train.problems.defects.tables import print_explanation

        print_explanation(self.summary(), title)

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


def explain(run: Path, store: Path, part: str, along: Along) -> Explanation:
    """Integrated gradients and ablations of a run's network on a part of its split.

    ValueError if the store's hosts are not in its library.json, or if the network does not see
    what is asked for.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, config = load_model(run, device)
    model.requires_grad_(False)
    problem = cast("Defects", config.problem)
    examples = problem.examples(Dataset.open(store))
    rows = read_rows(run, part, examples)
    structures, place = np.unique(examples.rows[rows, 0], return_inverse=True)
    hosts = _read_hosts(examples, structures)
    source = StoreSource(examples, problem.inputs(), device, resident=False)
    pairs, targets = source.samples(rows)
    target = targets["class"]
    points = np.array(problem.points)
    if along == "r":
        network = network_along_r(model, len(problem.classes))
        landmarks = tuple(landmarks_along_r(host, points) for host in hosts)
    else:
        network, pairs = _along_q(run, model, problem, pairs)
        points = points_of_q(problem.points, pairs.shape[-1])
        landmarks = tuple(landmarks_along_q(host, points, problem.points[-1]) for host in hosts)
    regions = {
        name: np.stack([of.regions[name] for of in landmarks])[place]
        for name in landmarks[0].regions
    }
    parts = {ALL: np.ones(len(points), bool)} | windows(along, points) | regions
    return Explanation(
        along=along,
        points=points,
        classes=problem.classes,
        target=target.cpu().numpy(),
        attribution=integrated_gradients(network, pairs, target).cpu().numpy(),
        change=(pairs[:, 1] - pairs[:, 0]).cpu().numpy(),
        gain=log_odds_gain(network, pairs, target).cpu().numpy(),
        ablated=ablate(network, pairs, parts),
        place=place,
        hosts=hosts,
        landmarks=landmarks,
        regions=regions,
    )


def _along_q(
    run: Path, model: torch.nn.Module, problem: Defects, pairs: torch.Tensor
) -> tuple[Network, torch.Tensor]:
    try:
        return network_along_q(model, len(problem.classes), pairs)
    except ValueError as error:
        raise ValueError(f"{run}, model {problem.recipe.model}: {error}") from error


def _read_hosts(examples: DefectExamples, structures: np.ndarray) -> tuple[Host, ...]:
    path = examples.path / "library.json"
    library = open_library(path)
    of_store = len(library) == len(examples.id)
    hosts = tuple(library[int(k)] for k in structures) if of_store else ()
    if [host.id for host in hosts] != list(examples.id[structures]):
        raise ValueError(f"{path} does not hold the hosts of the store: put back its own file")
    return hosts
