"""What a network says of one measurement whose host was refined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.judging.familiarity import REFUSED

STRONG = 20.0
"""How much likelier one class than another has to be to count: strong evidence in the terms of Kass
and Raftery (J. Am. Stat. Assoc. 90 (1995) 773, DOI 10.1080/01621459.1995.10476572). All classes
weigh the same in training, so a ratio of probabilities is one of likelihoods."""
_STRANGE = {
    "host": "the shells of the refined host are unlike those of the run's hosts",
    "change": "what parts the measurement from its host is unlike what defects, noise and "
    "instruments did in training",
    "features": "the pair of traces is unlike those that the run has learned to tell apart",
}


@dataclass(frozen=True, eq=False)
class Opinion:
    """What a network says, without more than the two traces that it was given.

    Args:
        probabilities: of the run's classes.
        fraction: number of defects per host atom, and its standard deviation; None where the
            network gives none.
        contrast: ln of the ratio of the impurity's atomic number to the host's, and its standard
            deviation; None where the most likely class has no impurity.
        strangeness: by view, as of `train.judging.familiarity`.
        r, measured, calculated: (R,) the traces, A and 1/A^2, of the measurement over its scale and
            of the refined host; zero where nothing was measured.
    """

    probabilities: dict[str, float]
    fraction: tuple[float, float] | None
    contrast: tuple[float, float] | None
    strangeness: dict[str, float]
    r: np.ndarray
    measured: np.ndarray
    calculated: np.ndarray

    @property
    def most_likely(self) -> str:
        return likeliest(self.probabilities)

    @property
    def strange(self) -> list[str]:
        """Reasons not to trust the network; empty if there are none."""
        return [_STRANGE[name] for name, far in self.strangeness.items() if far > REFUSED]

    def denies(self, name: str) -> bool:
        """Whether another class is so much likelier that this one is none to claim."""
        return max(self.probabilities.values()) >= STRONG * self.probabilities[name]


def likeliest(probabilities: dict[str, float]) -> str:
    """The class of the largest probability."""
    return max(probabilities, key=probabilities.__getitem__)
