"""How far a row is from all that a run was trained on: a score to refuse by.

A network has an answer for anything. Views of a row's input are compared with those of training
rows, by the distance to the nearest (Sun et al., ICML 2022, DOI 10.48550/arXiv.2204.06507). Which
views there are is the problem's matter; the features that the network's outputs are linear in are
one for any network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from safetensors.numpy import save
from torch import nn

from pdfcalc.files import write_atomically
from train.run_files import FAMILIARITY, damaged, read_tensors

REFUSED = 1.0
"""Unfamiliarity above which a row is refused."""
REFERENCES = 4096
"""Training rows to compare with."""
_ORDINARY = 0.99  # of the validation rows are below 1 in each view
_DIRECTIONS = 48  # principal components of a view
_MOST = 30.0  # standard deviations; farther out is far enough
_LEAST = 1e-6  # distance, where validation hosts are training hosts, as in the split by row
_CHUNK = 512


class View(NamedTuple):
    """What is compared of inputs (n, ...): (n, k) numbers each.

    How columns are made comparable: `kept` as they are, each `scaled` by its deviation, or taken
    together by `principal` components.
    """

    of: Callable[[torch.Tensor], np.ndarray]
    columns: Literal["kept", "scaled", "principal"]


def features_of(model: nn.Module) -> View:
    """What the outputs of a network are linear in."""
    model.eval()

    @torch.no_grad()
    def represent(inputs: torch.Tensor) -> np.ndarray:
        parts = [model.represent(part) for part in inputs.split(_CHUNK)]  # type: ignore[operator]
        return torch.cat(parts).double().numpy()

    return View(represent, "principal")


@dataclass(frozen=True)
class Reference:
    """A view of the training rows, and the distance at which most validation rows end.

    Args:
        mean: (k,) subtracted from a view.
        axes: (k, d) then applied to it.
        points: (n, d) training rows after both.
        ordinary: (1,) distance within which _ORDINARY of the validation rows have such a point.
    """

    mean: np.ndarray
    axes: np.ndarray
    points: np.ndarray
    ordinary: np.ndarray

    @classmethod
    def of(cls, view: View, training: torch.Tensor, validation: torch.Tensor) -> Reference:
        """From inputs (n, ...) to compare with and others (m, ...)."""
        seen = view.of(training)
        mean = seen.mean(0)
        axes = _axes(view, seen - mean)
        bare = cls(mean, axes, _placed(seen, mean, axes), np.ones(1))
        ordinary = np.quantile(bare.distance(view.of(validation)), [_ORDINARY])
        return cls(mean, axes, bare.points, np.maximum(ordinary, _LEAST))

    def distance(self, seen: np.ndarray) -> np.ndarray:
        """(n,) distances of views (n, k) to the nearest training row, 1 where most lie below."""
        from sklearn.metrics import pairwise_distances_argmin_min

        _, found = pairwise_distances_argmin_min(_placed(seen, self.mean, self.axes), self.points)
        return found / self.ordinary


class Familiarity:
    """The views of a run's training rows, for `strangeness` of others."""

    def __init__(self, views: Mapping[str, View], references: dict[str, Reference]) -> None:
        self._views, self._references = views, references

    @classmethod
    def fit(
        cls, views: Mapping[str, View], training: torch.Tensor, validation: torch.Tensor
    ) -> Familiarity:
        """From inputs (n, ...) to compare with and others (m, ...) of hosts that are not there."""
        references = {
            name: Reference.of(view, training, validation) for name, view in views.items()
        }
        return cls(views, references)

    def strangeness(self, inputs: torch.Tensor) -> dict[str, np.ndarray]:
        """(n,) distances of inputs (n, ...) by view; REFUSED and more is to be refused."""
        return {
            name: reference.distance(self._views[name].of(inputs))
            for name, reference in self._references.items()
        }

    def save(self, run: Path) -> None:
        arrays = {
            f"{name}.{field}": np.ascontiguousarray(value, dtype=np.float32)
            for name, reference in self._references.items()
            for field, value in vars(reference).items()
        }
        write_atomically(run / FAMILIARITY, lambda path: path.write_bytes(save(arrays)))

    @classmethod
    def load(cls, run: Path, views: Mapping[str, View], inputs: torch.Tensor) -> Familiarity:
        """Of a finished run.

        Args:
            inputs: (1, ...) of any kind, by which it is known how wide the views are.

        Raises:
            ValueError: the run has none, or a damaged one.
        """
        path, fields = run / FAMILIARITY, tuple(Reference.__annotations__)
        shapes: dict[str, tuple[int | None, ...]] = {}
        for name, view in views.items():
            width = view.of(inputs).shape[1]
            shapes |= {f"{name}.mean": (width,), f"{name}.axes": (width, None)}
            shapes |= {f"{name}.points": (None, None), f"{name}.ordinary": (1,)}
        arrays = {name: value.numpy() for name, value in read_tensors(path, shapes).items()}
        references = {
            name: Reference(*(arrays[f"{name}.{field}"] for field in fields)) for name in views
        }
        for name, reference in references.items():
            if reference.points.shape[1] != reference.axes.shape[1]:
                raise damaged(path, f"{name}.points and {name}.axes do not go together")
        return cls(views, references)


def _axes(view: View, centred: np.ndarray) -> np.ndarray:
    """(k, d) that makes a view's columns comparable, from training rows (n, k) less their mean."""
    if view.columns == "kept":
        return np.eye(centred.shape[1])
    if view.columns == "scaled":
        return np.diag(1 / (centred.std(0) + 1e-6))
    _, size, directions = np.linalg.svd(centred, full_matrices=False)
    kept = min(_DIRECTIONS, int((size > 1e-6 * size[0]).sum()))
    return directions[:kept].T / (size[:kept] / np.sqrt(len(centred)))


def _placed(seen: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return np.clip((seen - mean) @ axes, -_MOST, _MOST)
