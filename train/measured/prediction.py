"""What a run says of a measured PDF, and what may be claimed of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from defectgen.hosts.host import Host
from defectgen.point_defects.settings import KINDS
from pdfcalc.measured.refinement import Refinement
from train.problems.defects.defect_fit import KindFit
from train.problems.defects.examples import PRISTINE
from train.problems.defects.kinds import kind_probabilities

STRONG = 20.0
"""How much likelier than no defect at all a defect has to be for a claim: strong evidence in the
terms of Kass and Raftery (J. Am. Stat. Assoc. 90 (1995) 773, DOI 10.1080/01621459.1995.10476572).
All classes weigh the same in training, so a ratio of probabilities is one of likelihoods."""
REFUSED_VERDICT = "refused"


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a run says of one measurement.

    Args:
        probabilities: of the run's classes.
        fraction: number of defects per host atom, and its standard deviation; None where the
            network gives none.
        contrast: ln of the ratio of the impurity's atomic number to the host's, and its standard
            deviation; None where the most likely class has no impurity.
        fits: of each kind of defect in the refined host, whatever the network says; none where the
            toolkit makes no defects in such crystals, or the run does not know its instrument.
        strangeness: by view, as of `train.judging.familiarity`.
        refusals: reasons not to trust the classes; empty if there are none.
        notes: in what the run was trained for something else than this measurement.
        host: the refined one, where the toolkit makes defects in such crystals.
        r, measured, calculated: (R,) the traces that the network was given, A and 1/A^2, of the
            measurement over its scale and of the refined host; zero where nothing was measured.
    """

    file: Path
    structure: Path
    refinement: Refinement
    probabilities: dict[str, float]
    fraction: tuple[float, float] | None
    contrast: tuple[float, float] | None
    fits: dict[str, KindFit]
    strangeness: dict[str, float]
    refusals: tuple[str, ...]
    notes: tuple[str, ...]
    host: Host | None
    r: np.ndarray
    measured: np.ndarray
    calculated: np.ndarray

    @property
    def most_likely(self) -> str:
        return likeliest(self.probabilities)

    @property
    def kinds(self) -> dict[str, float]:
        """Probability of each kind of defect, whatever else is there."""
        of_classes = torch.tensor([[*self.probabilities.values()]], dtype=torch.double)
        (of_kinds,) = kind_probabilities(of_classes, [*self.probabilities]).tolist()
        return dict(zip(KINDS, of_kinds, strict=True))

    @property
    def verdict(self) -> str:
        """The class that is claimed: "pristine" unless a defect is STRONG-ly likelier and its fit
        finds some of it; or none."""
        if self.refusals:
            return REFUSED_VERDICT
        best = self.probabilities[self.most_likely]
        if best < STRONG * self.probabilities.get(PRISTINE, 0) or self.objection:
            return PRISTINE
        return self.most_likely

    @property
    def objection(self) -> str | None:
        """Why the fit speaks against the most likely kind; None if it does not."""
        if not (fit := self.fits.get(self.most_likely)):
            return None
        value, deviation = fit.fraction
        if value >= deviation:
            return None
        found = f"{100 * value:.2f} +- {100 * deviation:.2f} defects per 100 host atoms"
        return f"the fit as {self.most_likely} finds {found}, which may be none"

    def record(self) -> dict[str, Any]:
        """For JSON, without the curves."""
        pairs = {"fraction": self.fraction, "contrast": self.contrast}
        estimates = {
            name: {"value": pair[0], "deviation": pair[1]} if pair else None
            for name, pair in pairs.items()
        }
        return {
            "file": str(self.file),
            "structure": str(self.structure),
            "verdict": self.verdict,
            "refused": bool(self.refusals),
            "refusals": list(self.refusals),
            "most_likely": self.most_likely,
            "probabilities": self.probabilities,
            "kinds": self.kinds,
            **estimates,
            "objection": self.objection,
            "fits": {kind: fit.record() for kind, fit in self.fits.items()},
            "strangeness": self.strangeness,
            "refinement": self.refinement.record(),
            "notes": list(self.notes),
        }


def likeliest(probabilities: dict[str, float]) -> str:
    """The class of the largest probability."""
    return max(probabilities, key=probabilities.__getitem__)
