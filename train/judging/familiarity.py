"""How far a pair of traces is from all that a run was trained on: a score to refuse by.

A classifier has an answer for anything. Three views of a pair are compared with those of training
pairs, by the distance to the nearest (Sun et al., ICML 2022, DOI 10.48550/arXiv.2204.06507): the
shells of the host, the change in broad strokes, and the features that the network's outputs are
linear in. None of them was made for a particular kind of stranger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save

from train.models import Model
from train.models.features import PairFeatures
from train.runs.files import FAMILIARITY, damaged, read_tensors
from train.runs.rundir import load_model, write_atomically

REFUSED = 1.0
"""Unfamiliarity above which a pair is refused."""
REFERENCES = 4096
"""Training pairs to compare with."""
_ORDINARY = 0.99  # of the validation pairs are below 1 in each view
_DIRECTIONS = 48  # principal components of the features
_MOST = 30.0  # standard deviations; farther out is far enough
_POOLED = 18  # points that a curve of growth is averaged to
_FIRST_SHELL = 5.5  # A, below which every metal has one
_SHELLS = np.linspace(0.7, 3.0, 240)  # r in radii of the first shell
_BLUR = 0.12  # of the same, more than peaks differ in width by displacements and instruments
_LEAST = 1e-6  # distance, where validation hosts are training hosts, as in the split by row
_CHUNK = 512


class Views:
    """What is compared of pairs: by name, (n, k) numbers each."""

    def __init__(self, model: Model, r: np.ndarray) -> None:
        self._model, self._r = model.eval(), np.asarray(r)
        self._spaces = [PairFeatures(list(r), space) for space in ("real", "reciprocal")]
        self.of: dict[str, Callable[[torch.Tensor], np.ndarray]] = {
            "host": self._host,
            "change": self._change,
            "features": self._features,
        }

    @property
    def widths(self) -> dict[str, int]:
        """How many numbers each view has."""
        pair = torch.randn(1, 2, len(self._r), generator=torch.Generator().manual_seed(0))
        return {name: view(pair).shape[1] for name, view in self.of.items()}

    def _host(self, pairs: torch.Tensor) -> np.ndarray:
        """The radial distribution of the pristine trace in units of its first shell."""
        g = pairs[:, 0].double().numpy()
        g = g - g.mean(1, keepdims=True)
        # A grid may begin beyond that.
        near = g[:, : max(3, np.count_nonzero(self._r < _FIRST_SHELL))]
        is_peak = (near[:, 1:-1] >= near[:, :-2]) & (near[:, 1:-1] >= near[:, 2:])
        is_peak &= near[:, 1:-1] > 0.5 * near.max(1, keepdims=True)
        first = np.where(is_peak.any(1), 1 + is_peak.argmax(1), near.argmax(1))
        blur = np.exp(-(((_SHELLS[:, None] - _SHELLS) / _BLUR) ** 2) / 2)
        shells = np.array(
            [
                np.interp(_SHELLS * self._r[at], self._r, row * self._r, right=0)
                for row, at in zip(g, first, strict=True)
            ]
        ) @ (blur / blur.sum(0))
        return shells / np.linalg.norm(shells, axis=1, keepdims=True)

    def _change(self, pairs: torch.Tensor) -> np.ndarray:
        """Growth of the host's peaks along r and along Q, and sizes of the change."""
        found = []
        for space in self._spaces:
            curves, scalars = space.measure(pairs)
            pooled = torch.nn.functional.adaptive_avg_pool1d(curves[:, -1:], _POOLED)
            found += [pooled[:, 0], scalars]
        return torch.cat(found, dim=1).double().numpy()

    @torch.no_grad()
    def _features(self, pairs: torch.Tensor) -> np.ndarray:
        return torch.cat([self._model.represent(p) for p in pairs.split(_CHUNK)]).double().numpy()


@dataclass(frozen=True)
class Reference:
    """A view of the training pairs, and the distance at which most validation pairs end.

    Args:
        mean: (k,) subtracted from a view.
        axes: (k, d) then applied to it.
        points: (n, d) training pairs after both.
        ordinary: (1,) distance within which _ORDINARY of the validation pairs have such a point.
    """

    mean: np.ndarray
    axes: np.ndarray
    points: np.ndarray
    ordinary: np.ndarray

    @classmethod
    def of(cls, name: str, training: np.ndarray, validation: np.ndarray) -> Reference:
        mean = training.mean(0)
        axes = _axes(name, training - mean)
        bare = cls(mean, axes, _placed(training, mean, axes), np.ones(1))
        ordinary = np.quantile(bare.distance(validation), [_ORDINARY])
        return cls(mean, axes, bare.points, np.maximum(ordinary, _LEAST))

    def distance(self, view: np.ndarray) -> np.ndarray:
        """(n,) distances of views (n, k) to the nearest training pair, 1 where most lie below."""
        from sklearn.metrics import pairwise_distances_argmin_min

        _, found = pairwise_distances_argmin_min(_placed(view, self.mean, self.axes), self.points)
        return found / self.ordinary


class Familiarity:
    """The views of a run's training pairs, for `strangeness` of others."""

    def __init__(self, views: Views, references: dict[str, Reference]) -> None:
        self._views, self._references = views, references

    @classmethod
    def fit(
        cls, model: Model, r: np.ndarray, training: torch.Tensor, validation: torch.Tensor
    ) -> Familiarity:
        """From pairs (n, 2, R) to compare with and others (m, 2, R) of hosts that are not there."""
        views = Views(model, r)
        references = {
            name: Reference.of(name, of(training), of(validation)) for name, of in views.of.items()
        }
        return cls(views, references)

    def strangeness(self, pairs: torch.Tensor) -> dict[str, np.ndarray]:
        """(n,) distances of pairs (n, 2, R) in each view; REFUSED and more is to be refused."""
        return {
            name: reference.distance(self._views.of[name](pairs))
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
    def load(cls, run: Path) -> Familiarity:
        """Of a finished run; ValueError if it has none, or a damaged one."""
        model, config = load_model(run)
        views = Views(model, np.array(config.r))
        shapes: dict[str, tuple[int | None, ...]] = {}
        for name, width in views.widths.items():
            shapes |= {f"{name}.mean": (width,), f"{name}.axes": (width, None)}
            shapes |= {f"{name}.points": (None, None), f"{name}.ordinary": (1,)}
        path = run / FAMILIARITY
        arrays = {name: value.numpy() for name, value in read_tensors(path, shapes).items()}
        references = {
            name: Reference(*(arrays[f"{name}.{field}"] for field in Reference.__annotations__))
            for name in views.of
        }
        for name, reference in references.items():
            if reference.points.shape[1] != reference.axes.shape[1]:
                raise damaged(path, f"{name}.points and {name}.axes do not go together")
        return cls(views, references)


def _axes(name: str, centred: np.ndarray) -> np.ndarray:
    """(k, d) that makes a view's columns comparable, from training rows (n, k) less their mean."""
    if name == "host":  # whose points are so already
        return np.eye(centred.shape[1])
    if name == "change":
        return np.diag(1 / (centred.std(0) + 1e-6))
    _, size, directions = np.linalg.svd(centred, full_matrices=False)
    kept = min(_DIRECTIONS, int((size > 1e-6 * size[0]).sum()))
    return directions[:kept].T / (size[:kept] / np.sqrt(len(centred)))


def _placed(view: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return np.clip((view - mean) @ axes, -_MOST, _MOST)
