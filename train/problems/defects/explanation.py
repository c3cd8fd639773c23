"""What a run's network looks at, on a part of its split: numbers by class, and what to draw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from defectgen.hosts.host import Host
from defectgen.hosts.library import open_library
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
from train.problems.defects.attributions_by_class import Attributions
from train.problems.defects.examples import DefectExamples
from train.problems.defects.landmarks import landmarks_along_q, landmarks_along_r
from train.runs.rundir import load_model, read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from train.problems.defects.task import DefectTask

ALL = "all"


class Explanation(Attributions):
    """Attributions, and how they are shown."""

    def figure(self) -> Figure:
        """Attributions averaged by class and structure type."""
        from train.problems.defects.explanation_figure import attribution_figure

        return attribution_figure(self)

    def print(self, title: str) -> None:
        """The summary for a terminal."""
        from train.problems.defects.tables import print_explanation

        print_explanation(self.summary(), title)


def explain(run: Path, store: Path, part: str, along: Along) -> Explanation:
    """Integrated gradients and ablations of a run's network on a part of its split.

    ValueError if the store's hosts are not in its library.json, or if the network does not see
    what is asked for.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, config = load_model(run, device)
    model.requires_grad_(False)
    problem = cast("DefectTask", config.problem)
    examples = problem.examples(Dataset.open(store))
    rows = read_rows(run, part, examples)
    structures, place = np.unique(examples.rows[rows, 0], return_inverse=True)
    hosts = _read_hosts(examples, structures)
    source = problem.stored(examples, config.seed, device)
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
    run: Path, model: torch.nn.Module, problem: DefectTask, pairs: torch.Tensor
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
