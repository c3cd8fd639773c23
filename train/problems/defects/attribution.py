"""Integrated gradients: which points of r or of Q a network's verdict comes from.

M. Sundararajan, A. Taly and Q. Yan, ICML 2017, DOI 10.48550/arXiv.1703.01365. They divide what a
defect adds to an output over the points of the traces. The output is the log-odds of the true
class, ln p / (1 - p): to the logit of one class anything can be added that all classes share, and
the margin to the second class has kinks where that becomes another one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch

from train.models.features import LOWEST_Q, SMALL_NORM, PairFeatures

STEPS = 64
"""Points of the path: docs/insight.md has what the sums miss by with fewer."""
CHUNK = 128  # rows of one pass

Along = Literal["r", "q"]
Network = Callable[[torch.Tensor], torch.Tensor]
"""From pairs (n, 2, points) to logits (n, classes)."""


def log_odds(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(n,) ln p / (1 - p) of classes (n,) from logits (n, classes)."""
    own = logits.gather(1, target[:, None])
    others = logits.scatter(1, target[:, None], -torch.inf)
    return own.squeeze(1) - others.logsumexp(1)


def integrated_gradients(
    network: Network, pairs: torch.Tensor, target: torch.Tensor, steps: int = STEPS
) -> torch.Tensor:
    """What each point adds to the log-odds of the true class, from pristine to defective.

    The path is straight, from no change of the pristine trace to the whole; the pristine channel
    stays. Networks see the logarithm of the change's size and its shape at unit norm, both of
    which turn most where it is small: the path's points are dense there, evenly spaced in
    ln(size + SMALL_NORM) but for the rule of Gauss and Legendre.

    Args:
        pairs: (n, 2, points).
        target: (n,) classes.

    Returns:
        (n, points); the sum over points is the difference of the log-odds between the path's ends.
    """
    parts = zip(pairs.split(CHUNK), target.split(CHUNK), strict=True)
    return torch.cat([_integrate(network, of, own, steps) for of, own in parts])


def _integrate(
    network: Network, pairs: torch.Tensor, target: torch.Tensor, steps: int
) -> torch.Tensor:
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    host, change = pairs[:, 0], pairs[:, 1] - pairs[:, 0]
    least = SMALL_NORM / change.norm(dim=1, keepdim=True).clamp(min=SMALL_NORM)
    span = torch.log1p(1 / least)
    total = torch.zeros_like(change)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        part = least * torch.expm1(node * span)  # of the change
        defective = (host + part * change).requires_grad_()
        with torch.enable_grad():
            odds = log_odds(network(torch.stack([host, defective], dim=1)), target)
            (gradient,) = torch.autograd.grad(odds.sum(), defective)
        total += weight * span * (part + least) * gradient
    return total * change


@torch.no_grad()
def log_odds_gain(network: Network, pairs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(n,) log-odds of the true class, less those of the pristine trace taken for defective."""
    pristine = pairs[:, :1].expand(-1, 2, -1)
    with_defect, without = (logits_of(network, of) for of in (pairs, pristine))
    return log_odds(with_defect, target) - log_odds(without, target)


@torch.no_grad()
def logits_of(network: Network, pairs: torch.Tensor) -> torch.Tensor:
    """(n, classes), some rows at a time."""
    return torch.cat([network(of) for of in pairs.split(CHUNK)])


def network_along_r(model: torch.nn.Module, classes: int) -> Network:
    """The logits of a model, without its regressions."""
    return lambda pairs: model(pairs)[:, :classes]


def network_along_q(
    model: torch.nn.Module, classes: int, pairs: torch.Tensor
) -> tuple[Network, torch.Tensor]:
    """The same network from F(Q) on, and the pairs (n, 2, K) of F(Q) of pairs (n, 2, R) of G(r).

    ValueError if the model does not begin with a transform to Q.
    """
    model = copy.deepcopy(model)
    features = getattr(model, "features", None)
    if not isinstance(features, PairFeatures) or features.transform is None:
        raise ValueError("this network sees no F(Q): use --along r")
    transform = features.transform
    centred = pairs.double() - pairs.double().mean(-1, keepdim=True)
    of_f = (centred @ transform.T).to(pairs.dtype)
    # F and the negative of its sum have no mean that the features could take off.
    features.transform = torch.eye(len(transform), len(transform) + 1).to(transform)

    def network(pairs: torch.Tensor) -> torch.Tensor:
        return model(torch.cat([pairs, -pairs.sum(-1, keepdim=True)], dim=-1))[:, :classes]

    return network, of_f


def points_of_q(r: Sequence[float], count: int) -> np.ndarray:
    """(K,) Q, 1/A, of the rows of `train.models.features.sine_transform`."""
    step = math.pi / r[-1]
    return (math.ceil(LOWEST_Q / step) + np.arange(count)) * step
