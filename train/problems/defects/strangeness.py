"""Views of pairs of traces by which strangers are told: none was made for a kind of stranger."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from train.judging.familiarity import View
from train.models.features import PairFeatures, Space

_POOLED = 18  # points that a curve of growth is averaged to
_FIRST_SHELL = 5.5  # A, below which every metal has one
_SHELLS = np.linspace(0.7, 3.0, 240)  # r in radii of the first shell
_BLUR = 0.12  # of the same, more than peaks differ in width by displacements and instruments


def pdf_views(r: Sequence[float]) -> dict[str, View]:
    """Of G(r) on points r (R,), A: the shells of the host, and the change in broad strokes."""
    return {
        "host": View(_host_of(np.asarray(r)), "kept"),
        "change": View(_change_of(r, ("real", "reciprocal")), "scaled"),
    }


def trace_views(points: Sequence[float]) -> dict[str, View]:
    """Of any trace: the change in broad strokes."""
    return {"change": View(_change_of(points, ("real",)), "scaled")}


def _host_of(r: np.ndarray) -> Callable[[torch.Tensor], np.ndarray]:
    blur = np.exp(-(((_SHELLS[:, None] - _SHELLS) / _BLUR) ** 2) / 2)
    blur /= blur.sum(0)

    def view(pairs: torch.Tensor) -> np.ndarray:
        """The radial distribution of the pristine trace in units of its first shell."""
        g = pairs[:, 0].double().numpy()
        g = g - g.mean(1, keepdims=True)
        # A grid may begin beyond that.
        near = g[:, : max(3, np.count_nonzero(r < _FIRST_SHELL))]
        is_peak = (near[:, 1:-1] >= near[:, :-2]) & (near[:, 1:-1] >= near[:, 2:])
        is_peak &= near[:, 1:-1] > 0.5 * near.max(1, keepdims=True)
        first = np.where(is_peak.any(1), 1 + is_peak.argmax(1), near.argmax(1))
        shells = np.array(
            [
                np.interp(_SHELLS * r[at], r, row * r, right=0)
                for row, at in zip(g, first, strict=True)
            ]
        )
        shells = shells @ blur
        return shells / np.linalg.norm(shells, axis=1, keepdims=True)

    return view


def _change_of(
    points: Sequence[float], spaces: tuple[Space, ...]
) -> Callable[[torch.Tensor], np.ndarray]:
    features = [PairFeatures(list(points), space) for space in spaces]

    def view(pairs: torch.Tensor) -> np.ndarray:
        """Growth of the host's peaks along the trace, and along Q, and sizes of the change."""
        found = []
        for of_space in features:
            curves, scalars = of_space.measure(pairs)
            pooled = torch.nn.functional.adaptive_avg_pool1d(curves[:, -1:], _POOLED)
            found += [pooled[:, 0], scalars]
        return torch.cat(found, dim=1).double().numpy()

    return view
