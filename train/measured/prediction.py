"""What a run says of a measured PDF, and what may be claimed of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from defectgen.hosts.host import Host
from defectgen.point_defects.settings import KINDS
from pdfcalc.measured.refinement import Refinement
from train.measured.opinion import STRONG, Opinion
from train.problems.defects.defect_fit import KindFit
from train.problems.defects.examples import PRISTINE
from train.problems.defects.kinds import kind_probabilities

REFUSED_VERDICT = "refused"


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a run says of one measurement.

    Args:
        opinion: of the network.
        fits: of each kind of defect in the refined host, whatever the network says; none where the
            toolkit makes no defects in such crystals, or the run does not know its instrument.
        refusals: reasons not to trust the classes; empty if there are none.
        notes: in what the run was trained for something else than this measurement.
        host: the refined one, where the toolkit makes defects in such crystals.
    """

    file: Path
    structure: Path
    refinement: Refinement
    opinion: Opinion
    fits: dict[str, KindFit]
    refusals: tuple[str, ...]
    notes: tuple[str, ...]
    host: Host | None

    @property
    def probabilities(self) -> dict[str, float]:
        return self.opinion.probabilities

    @property
    def most_likely(self) -> str:
        return self.opinion.most_likely

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
        pairs = {"fraction": self.opinion.fraction, "contrast": self.opinion.contrast}
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
            "strangeness": self.opinion.strangeness,
            "refinement": self.refinement.record(),
            "notes": list(self.notes),
        }
