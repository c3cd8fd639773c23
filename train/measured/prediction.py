"""What a run says of a measured PDF, once its host has been refined against it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from defectgen.hosts.cif import read_cif, read_structure
from defectgen.hosts.host import Host
from defectgen.point_defects.settings import IMPURITY_KINDS, KINDS, DefectSettings, kinds_named
from hpc.description import PDFSettings
from pdfcalc import AtomicStructure, calculate_pdf
from pdfcalc.measured.gr_files import GrFile, read_gr
from pdfcalc.measured.refinement import BEYOND, Refinement, measured_parameters, refine_host
from train.data.sources import FRACTION_UNIT
from train.data.store import PRISTINE
from train.judging.calibration import read_calibration
from train.judging.familiarity import REFUSED, Familiarity
from train.models import Outputs
from train.problems.defects.defect_fit import DefectFit, KindFit
from train.problems.defects.inputs import ABSORBABLE, PairInput
from train.problems.defects.kinds import kind_probabilities
from train.runs.rundir import load_model

STRONG = 20.0
"""How much likelier than no defect at all a defect has to be for a claim: strong evidence in the
terms of Kass and Raftery (J. Am. Stat. Assoc. 90 (1995) 773, DOI 10.1080/01621459.1995.10476572).
All classes weigh the same in training, so a ratio of probabilities is one of likelihoods."""
REFUSED_VERDICT = "refused"
_END = 0.95  # of the fractions that a fit tries, beyond which it asks for more
_FEWEST_POINTS = 20  # of the run's, in what was fitted
_MOST_RW = 0.5
"""Beyond which more of a measurement is something else than is its host."""
_HIGH_RW = 0.2
"""Twice what refinements of bulk metals end with: worth a look at structure and instrument."""
_FAR = 0.02
"""Relative change of a length that a crystal's own expansion by heat rarely reaches."""
_STRANGE = {
    "host": "the shells of the refined host are unlike those of the run's hosts",
    "change": "what parts the measurement from its host is unlike what defects, noise and "
    "instruments did in training",
    "features": "the pair of traces is unlike those that the run has learned to tell apart",
}


@dataclass(frozen=True)
class Structure:
    """The host of a measurement: of a host's CIF file the standard cell, else the file's own."""

    path: Path
    atoms: AtomicStructure
    host: Host | None
    """None where the crystal is none that the toolkit makes defects in."""
    refusal: str | None
    """Why it is none."""

    @classmethod
    def read(cls, path: Path) -> Structure:
        atoms = read_structure(path)
        try:
            return cls.of_host(path, read_cif(path).host)
        except ValueError as error:
            return cls(path, atoms, None, str(error))

    @classmethod
    def of_host(cls, path: Path, host: Host) -> Structure:
        # Lengths are refined and angles are not, so a primitive cell would lose its freedom.
        n = len(host.frac)
        standard = AtomicStructure(host.lattice, host.frac, [host.element] * n, [host.uiso] * n)
        return cls(path, standard, host, None)


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
        return _likeliest(self.probabilities)

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
        found = self.refinement
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
            "refinement": {
                "rw": found.rw,
                "converged": found.converged,
                "rmin": float(found.r[0]),
                "rmax": float(found.r[-1]),
                "values": found.values,
                "uncertainties": found.uncertainties,
            },
            "notes": list(self.notes),
        }


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
        self.model, self.config = load_model(run)
        self.familiarity = Familiarity.load(run)
        self._calibration = read_calibration(run, self.model.regressions)
        self._r = np.array(self.config.r)

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
        start = measured_parameters(measured, structure.atoms, **(ends | given))
        kept = set(fixed) | (set(ABSORBABLE) - self._refined)
        found = refine_host(structure.atoms, measured.r, measured.g, start, kept)
        calculated, scaled = self._traces(found)
        with torch.no_grad():
            traces = (torch.from_numpy(g[None]).float() for g in (calculated, scaled))
            pairs = self.config.inputs(*traces)
            columns = self.model(pairs)
        answer = self._answer(Outputs.of(columns, len(self.config.classes)))
        host = _refined_host(structure.host, found)
        far = {name: float(of[0]) for name, of in self.familiarity.strangeness(pairs).items()}
        fits = self._fits(found, kept, host, calculated, scaled)
        notes = [*_notes_on_refinement(found, structure), *self._notes(found, kept)]
        notes += _notes_on_fit(fits, _likeliest(answer["probabilities"]))
        refusals = [structure.refusal] if structure.refusal else []
        if not found.rw <= _MOST_RW:
            refusals.append(f"the refined host misses the measurement, Rw {found.rw:.2f}")
        refusals += [_STRANGE[name] for name, distance in far.items() if distance > REFUSED]
        return Prediction(
            file=file,
            structure=structure.path,
            refinement=found,
            **answer,
            strangeness=far,
            refusals=tuple(refusals),
            notes=tuple(notes),
            fits=fits,
            host=host,
            r=self._r,
            measured=scaled,
            calculated=calculated,
        )

    @cached_property
    def _refined(self) -> set[str]:
        """What to refine: what the run learned to do without, or else everything."""
        return set(self.config.recipe.absorbed or ABSORBABLE)

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
        if host is None or self.config.instrument is None:
            return {}
        names = ("qmin", "qmax", "qdamp", "qbroad", "scattering")
        refined = {name: getattr(found.parameters, name) for name in names}
        pdf = PDFSettings(**self.config.instrument | refined)
        free = [name for name in ABSORBABLE if name not in kept]
        inputs = PairInput("shared", free, self.config.r)
        fit = DefectFit(host, DefectSettings(), pdf, inputs, repeated=False)
        (fits,) = fit(calculated, scaled[None])
        return fits

    def _answer(self, outputs: Outputs) -> dict[str, Any]:
        """The fields of `Prediction` that come from the network's outputs for one pair."""
        logits, mean, log_deviation = self._calibration.apply(outputs)
        probabilities = dict(zip(self.config.classes, logits.softmax(1)[0].tolist(), strict=True))
        fraction = contrast = None
        if mean.shape[1]:
            values = zip(mean[0].tolist(), log_deviation[0].exp().tolist(), strict=True)
            (of_unit, deviation), of_impurity = values
            fraction = FRACTION_UNIT * of_unit, FRACTION_UNIT * deviation
            has_impurity = set(kinds_named(_likeliest(probabilities))) & set(IMPURITY_KINDS)
            contrast = of_impurity if has_impurity else None
        return {
            "probabilities": probabilities,
            "fraction": fraction,
            "contrast": contrast,
        }

    def _scatters_alike(self, found: Refinement) -> bool:
        """Whether atoms scatter as in training, by which impurities have atomic numbers."""
        trained = (self.config.instrument or {}).get("scattering")
        return trained in (None, found.parameters.scattering)

    def _notes(self, found: Refinement, kept: Collection[str]) -> list[str]:
        recipe, instrument = self.config.recipe, self.config.instrument or {}
        notes = []
        odd = (set(ABSORBABLE) - set(kept)) ^ set(recipe.absorbed)
        if not recipe.absorbed:
            notes.append("the run knows no refined hosts: train one with --recipe measured")
        elif odd:
            notes.append(f"{', '.join(sorted(odd))}: refined in training, but not here")
        if "scale" in kept and found.values["scale"] == 1:
            notes.append("scale is taken to be 1: give it if it is not")
        if not self._scatters_alike(found):
            notes.append("other radiation than in training: contrast is one of scattering powers")
        trained_on = {name: (value, value) for name, value in instrument.items()}
        trained_on |= recipe.variation.instrument
        for name in sorted({"qmax", "qdamp", "qbroad"} & set(trained_on)):
            here, (low, high) = getattr(found.parameters, name), trained_on[name]
            if here is not None and not 0.98 * low <= here <= 1.02 * high:
                trained = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
                notes.append(f"{name} is {here:.4g} 1/A here and was {trained} in training")
        notes += self._notes_on_range(found)
        return notes

    def _notes_on_range(self, found: Refinement) -> Iterator[str]:
        """Where r begins later, or ends sooner, than in all of training."""
        step = float(np.diff(self._r).mean())
        first, last = self._r[0], self._r[-1]
        if found.r[0] > first + step:
            yield f"r begins at {found.r[0]:.4g} A here and at {first:.4g} A in training"
        soonest, _ = self.config.recipe.variation.rmax or (last, last)
        if found.r[-1] < min(soonest, last) - step:
            yield f"r ends at {found.r[-1]:.4g} A here and at {soonest:.4g} A or more in training"


def _likeliest(probabilities: dict[str, float]) -> str:
    return max(probabilities, key=probabilities.__getitem__)


def _notes_on_refinement(found: Refinement, structure: Structure) -> Iterator[str]:
    """What makes one doubt that this is the measurement's crystal."""
    if not found.converged:
        yield "the refinement did not converge"
    if found.rw > _HIGH_RW:
        yield f"Rw is {found.rw:.2f}: is this the structure, and are qmax and the radiation right?"
    lengths = np.linalg.norm(structure.atoms.lattice, axis=1)
    for axis, before in zip("abc", lengths, strict=True):
        after = found.values.get(axis, before)
        if abs(after / before - 1) > _FAR:
            yield f"{axis} is {after:.4g} A here and {before:.4g} A in {structure.path}"


def _notes_on_fit(fits: dict[str, KindFit], most_likely: str) -> Iterator[str]:
    _, highest = DefectSettings().fraction
    if most_likely in fits and fits[most_likely].fraction[0] > _END * highest:
        yield (
            f"the fit as {most_likely} ends at {100 * highest:g} defects per 100 host atoms, the "
            "most it tries: more of them, or another defect, would fit better"
        )


def _refined_host(host: Host | None, found: Refinement) -> Host | None:
    """The host with the refined lengths and displacements."""
    if host is None:
        return None
    a, _, c = np.linalg.norm(found.structure.lattice, axis=1).tolist()
    c = a if host.space_group in (225, 229) else c
    return host.model_copy(update={"a": a, "c": c, "uiso": float(found.structure.uiso.mean())})
