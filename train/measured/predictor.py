"""A finished run, applied to measured PDFs, of which the hosts are refined first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from defectgen.hosts.elements import LIGHT
from defectgen.hosts.host import Host
from defectgen.point_defects.settings import IMPURITY_KINDS, DefectSettings, kinds_named
from defectgen.samples import Stage
from defectgen.stages.relaxed import Relaxed
from hpc.description import RunDescription
from hpc.observables.pdf import PDFSettings
from pdfcalc import calculate_pdf
from pdfcalc.measured.gr_files import GrFile, read_gr
from pdfcalc.measured.refinement import BEYOND, Refinement, refine_host
from train.judging.calibration import read_calibration
from train.judging.familiarity import Familiarity
from train.measured.notes import (
    notes_on_fit,
    notes_on_moved_atoms,
    notes_on_range,
    notes_on_refinement,
    notes_on_scores,
    notes_on_training,
    refusals_of,
)
from train.measured.opinion import Opinion, likeliest
from train.measured.prediction import Prediction
from train.measured.refining import start_of
from train.measured.structure import Structure
from train.models import Outputs
from train.problems.defects.defect_fit import DefectFit, KindFit, relaxed_only
from train.problems.defects.examples import FRACTION_UNIT
from train.problems.defects.inputs import ABSORBABLE, PairInput
from train.problems.defects.problem import read_problem
from train.runs.rundir import load_model, read_metrics

_DISPLACED = 0.95
"""Uiso without what defects displace over what is refined, from which on fits are done anew."""
_FEWEST_POINTS = 20  # of the run's, in what was fitted


def predict_files(
    run: Path,
    structure: Path,
    files: Sequence[Path],
    given: dict[str, Any],
    fixed: Collection[str] = (),
) -> Iterator[Prediction | ValueError]:
    """As `Predictor.predict` for each file in turn; what is wrong with one stops no other.

    Raises:
        ValueError: the run or the structure is unusable.
    """
    if unknown := sorted(set(fixed) - set(ABSORBABLE)):
        raise ValueError(f"{', '.join(unknown)} can't be kept: one of {', '.join(ABSORBABLE)} can")
    predictor, host = Predictor(run), Structure.read(structure)
    for file in files:
        try:
            yield predictor.predict(host, file, given, fixed)
        except ValueError as error:
            yield error


class Predictor:
    """A finished run, for measurements of any number of samples."""

    def __init__(self, run: Path) -> None:
        self.problem = read_problem(run)
        if not self.problem.trace.is_pdf:
            raise ValueError(f"{run} was not trained to tell defects by G(r), the array g")
        self.model, self.config = load_model(run)
        self.scores = read_metrics(run)["test"]
        pair = torch.randn(
            1, 2, len(self.problem.points), generator=torch.Generator().manual_seed(0)
        )
        self.familiarity = Familiarity.load(run, self.problem.views(self.model), pair)
        self._calibration = read_calibration(run, self.problem.layout(self.model).regressions)
        self._r = np.array(self.problem.points)
        self._instrument = self.config.description.get("pdf")
        # Of a store without a description all that is known of defects is what is usual.
        self._defects = DefectSettings(**self.config.description.get("defects", {}))

    def predict(
        self, structure: Structure, file: Path, given: dict[str, Any], fixed: Collection[str] = ()
    ) -> Prediction:
        """Refine the host against a measured PDF and classify what is left.

        Args:
            given: fields of PDFParameters that the file's header lacks or has wrong, among them
                rmin and rmax of the fit, A.
            fixed: of `ABSORBABLE`, not to be refined, beside what the run takes as known.

        Raises:
            ValueError: the file or what is given is unusable, or there is too little of it.
        """
        measured = read_gr(file)
        try:
            return self._predict(structure, file, measured, given, fixed)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error

    def _predict(
        self,
        structure: Structure,
        file: Path,
        measured: GrFile,
        given: dict[str, Any],
        fixed: Collection[str],
    ) -> Prediction:
        ends = {"rmin": self._r[0], "rmax": min(self._r[-1], measured.r[-1]) + 0.01}
        start, doubts = start_of(measured, structure, ends | given)
        kept = set(fixed) | (set(ABSORBABLE) - self._refined)
        found = refine_host(structure.atoms, measured.r, measured.g, start, kept)
        opinion = self.opinion(found)
        host = structure.refined(found)
        fits = self._fits(found, kept, host, opinion.calculated, opinion.measured)
        recipe = self.problem.recipe
        notes = [*structure.told, *doubts, *notes_on_refinement(found, structure)]
        notes += notes_on_training(recipe, self._instrument or {}, found, kept)
        notes += notes_on_range(recipe, self._r, found)
        notes += notes_on_scores(self.scores)
        highest = self._defects.highest_fraction
        notes += notes_on_fit(fits, opinion.most_likely, highest)
        if self._stages:
            rigid = bool(fits) and not self._relaxed(kept)
            notes += notes_on_moved_atoms(opinion.most_likely, rigid)
        return Prediction(
            file=file,
            structure=structure.path,
            refinement=found,
            opinion=opinion,
            refusals=(*refusals_of(structure, found), *opinion.strange),
            notes=tuple(notes),
            fits=fits,
            host=host,
        )

    def opinion(self, found: Refinement) -> Opinion:
        """What the network says of a refined measurement; ValueError if that has too few points."""
        calculated, scaled = self._traces(found)
        with torch.no_grad():
            traces = (torch.from_numpy(g[None]).float() for g in (calculated, scaled))
            pairs = self.problem.inputs()(*traces)
            columns = self.model(pairs)
        answer = self._answer(Outputs.of(columns, self.problem.layout(self.model)))
        far = {name: float(of[0]) for name, of in self.familiarity.strangeness(pairs).items()}
        return Opinion(**answer, strangeness=far, r=self._r, measured=scaled, calculated=calculated)

    @property
    def scattering(self) -> str:
        """Of what it was trained on."""
        return str((self._instrument or {}).get("scattering", "xray"))

    @cached_property
    def _refined(self) -> set[str]:
        """What to refine: what the run learned to do without, or else everything."""
        return set(self.problem.recipe.absorbed or ABSORBABLE)

    def _traces(self, found: Refinement) -> tuple[np.ndarray, np.ndarray]:
        """The refined host's and the measured G(r) on the run's points, of scale 1."""
        from scipy.interpolate import CubicSpline

        parameters = replace(found.parameters, scale=1.0, rmin=0.0, rmax=self._r[-1] + BEYOND)
        calculated = CubicSpline(*calculate_pdf(found.structure, parameters))(self._r)
        inside = (self._r >= found.r[0] - 1e-9) & (self._r <= found.r[-1] + 1e-9)
        if inside.sum() < _FEWEST_POINTS:
            raise ValueError(
                f"the fit from {found.r[0]:.4g} to {found.r[-1]:.4g} A has {inside.sum()} of the "
                f"run's points, which go from {self._r[0]:.4g} to {self._r[-1]:.4g} A: give --rmin "
                f"and --rmax that hold {_FEWEST_POINTS} of them or more"
            )
        # Of G itself a spline through points pi / qmax apart would miss a tenth.
        left = CubicSpline(found.r, found.g - found.g_calculated)(self._r)
        measured = calculated + left / found.values["scale"]
        return calculated * inside, measured * inside

    def _fits(
        self,
        found: Refinement,
        kept: Collection[str],
        host: Host | None,
        calculated: np.ndarray,
        scaled: np.ndarray,
    ) -> dict[str, KindFit]:
        """Fits of each kind of defect to what parts the measured trace (R,) from the host's."""
        if host is None or self._instrument is None:
            return {}
        names = ("qmin", "qmax", "qdamp", "qbroad", "scattering")
        refined = {name: getattr(found.parameters, name) for name in names}
        pdf = PDFSettings(**self._instrument | refined | {"instruments": {}})
        free = [name for name in ABSORBABLE if name not in kept]
        inputs = PairInput("shared", free, self.problem.points)
        of_host = partial(
            DefectFit,
            defects=self._defects,
            pdf=pdf,
            inputs=inputs,
            repeated=False,
            relaxed=self._relaxed(kept),
        )
        fit = of_host(host)
        (fits,) = fit(calculated, scaled[None])
        # What is refined holds what defects displace, which their means would have once more.
        before = fit.host_before(fits)
        if before.uiso < _DISPLACED * host.uiso:
            (fits,) = of_host(before)(calculated, scaled[None])
        return fits

    @cached_property
    def _stages(self) -> Sequence[Stage]:
        """What happened to the samples that it was trained on."""
        return RunDescription(**self.config.description).stages

    def _relaxed(self, kept: Collection[str]) -> Relaxed | None:
        """How atoms relax in fits: as in training, of metals in a host that was refined."""
        known = not {"cell", "uiso"} & set(kept) and not set(LIGHT) & set(self._defects.impurities)
        return relaxed_only(self._stages) if known else None

    def _answer(self, outputs: Outputs) -> dict[str, Any]:
        """The fields of `Opinion` that come from the network's outputs for one pair."""
        calibrated = self._calibration.apply(outputs)
        mean, log_deviation = calibrated.mean, calibrated.log_deviation
        probability = calibrated.logits.softmax(1)[0].tolist()
        probabilities = dict(zip(self.problem.classes, probability, strict=True))
        fraction = contrast = None
        if mean.shape[1]:
            values = zip(mean[0].tolist(), log_deviation[0].exp().tolist(), strict=True)
            (of_unit, deviation), of_impurity = values
            fraction = FRACTION_UNIT * of_unit, FRACTION_UNIT * deviation
            has_impurity = set(kinds_named(likeliest(probabilities))) & set(IMPURITY_KINDS)
            contrast = of_impurity if has_impurity else None
        return {
            "probabilities": probabilities,
            "fraction": fraction,
            "contrast": contrast,
        }
