"""What a measured PDF says of defects in a host, and above all what it can't exclude."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from defectgen.hosts.host import Host
from pdfcalc.measured.refinement import Refinement
from train.measured.limits import MOST, Bound, Change, Left, changes, defects_of, less_faults
from train.measured.notes import notes_on_range, notes_on_scores, refusals_of
from train.measured.opinion import Opinion
from train.measured.predictor import Predictor
from train.measured.pretrained import PRETRAINED
from train.measured.refining import Refined, refined
from train.measured.structure import Structure

NO_EVIDENCE, UNCLEAR, REFUSED = "no evidence", "unclear", "refused"
_EVIDENT = 5.0
"""Standard deviations of a fraction from none, from which on it counts as found."""
_AS_GOOD = 3.0
"""Of ln of the likelihood, within which two kinds explain a measurement as well: a ratio of 20."""


@dataclass(frozen=True)
class KindLimit:
    """Of a kind of defect, or of one with some impurity; fractions are of host atoms.

    Args:
        best: the fit of most likelihood, atoms relaxed.
        fraction_95: upper limit at 95 %, atoms relaxed, by 30 % less as well; None where not even
            MOST can be excluded.
        fraction_95_rigid: of defects that move no other atom.
    """

    best: Bound
    fraction_95: float | None
    fraction_95_rigid: float | None

    def record(self) -> dict[str, Any]:
        return {
            "fraction": self.best.fraction,
            "deviation": self.best.deviation,
            "significance": self.best.significance,
            "fraction_95": self.fraction_95,
            "fraction_95_rigid": self.fraction_95_rigid,
        }


@dataclass(frozen=True, eq=False)
class Analysis:
    """What is found in one measurement.

    Args:
        reference: file of the undamaged sample, where there is one.
        limits: by kind, and by element "" where the kind has none; none where the host is refused.
        is_noise: whether what the host leaves may be noise, without any defect.
        network: what a network says, whose word narrows what is found; None where it can't judge.
    """

    file: Path
    structure: Path
    reference: Path | None
    refinement: Refinement
    limits: dict[str, dict[str, KindLimit]]
    is_noise: bool
    network: Opinion | None
    refusals: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def found(self) -> list[tuple[str, str]]:
        """What fits, but for kinds that the network denies; likeliest first."""
        if self.network is None:
            return self.fitting
        return [one for one in self.fitting if not self.network.denies(one[0])]

    @property
    def fitting(self) -> list[tuple[str, str]]:
        """Kinds and elements that explain the measurement best, and evidently; likeliest first."""
        every = [
            (limit.best, kind, element)
            for kind, by_element in self.limits.items()
            for element, limit in by_element.items()
            if limit.best.significance >= _EVIDENT and limit.best.fraction <= MOST
        ]
        every.sort(key=lambda one: -one[0].log_likelihood)
        return [
            (kind, element)
            for best, kind, element in every
            if best.log_likelihood > every[0][0].log_likelihood - _AS_GOOD
        ]

    @property
    def is_explained(self) -> bool:
        """Whether some of what fits, or nothing at all, leaves what may be noise."""
        if not self.fitting:
            return self.is_noise
        return any(self.limits[kind][element].best.leaves_noise for kind, element in self.fitting)

    @property
    def verdict(self) -> str:
        """Kinds, likeliest first, or why none is named."""
        if self.refusals:
            return REFUSED
        if not self.fitting:
            return NO_EVIDENCE
        if not self.is_explained or not self.found:
            return UNCLEAR
        return " or ".join(dict.fromkeys(kind for kind, _ in self.found))

    def limit(self, kind: str) -> float | None:
        """The largest upper limit of any element; None where one has none."""
        every = [limit.fraction_95 for limit in self.limits[kind].values()]
        bounded = [one for one in every if one is not None]
        return max(bounded) if bounded and len(bounded) == len(every) else None

    def record(self) -> dict[str, Any]:
        """For JSON, without the curves."""
        return {
            "file": str(self.file),
            "structure": str(self.structure),
            "reference": str(self.reference) if self.reference else None,
            "verdict": self.verdict,
            "rw": self.refinement.rw,
            "found": [{"kind": kind, "element": element or None} for kind, element in self.found],
            "limits": {kind: self._limits_of(kind) for kind in self.limits},
            "left_is_noise": self.is_noise,
            "network": self.network.probabilities if self.network else None,
            "refusals": list(self.refusals),
            "refinement": self.refinement.record(),
            "notes": list(self.notes),
        }

    def _limits_of(self, kind: str) -> dict[str, Any]:
        by_element = self.limits[kind]
        if "" in by_element:
            return by_element[""].record()
        elements = {element: limit.record() for element, limit in by_element.items()}
        return {"fraction_95": self.limit(kind), "elements": elements}


@dataclass(frozen=True)
class Question:
    """What is asked of measurements of one host.

    Args:
        undamaged: the host refined against a sample without defects, on the same instrument.
        impurities: elements to look for; None for all metals.
        predictor: of a run whose word narrows what is found.
    """

    undamaged: Refined | None = None
    impurities: Sequence[str] | None = None
    predictor: Predictor | None = None


def analyse_files(
    structure: Path,
    files: Sequence[Path],
    reference: Path | None,
    impurities: Sequence[str] | None,
    given: dict[str, Any],
    fixed: Collection[str],
) -> Iterator[Analysis | ValueError]:
    """Of each file what is found, or why nothing was.

    Args:
        reference: a measurement of the undamaged sample on the same instrument.
        impurities: elements to look for, with H, C, N and O between atoms only; None for all
            metals.
        given: as of `measured_parameters`.
        fixed: as of `refine_host`.

    Raises:
        ValueError: the structure or the reference is unusable.
    """
    crystal = Structure.read(structure)
    undamaged = refined(crystal, reference, given, fixed) if reference else None
    question = Question(undamaged, impurities, Predictor(PRETRAINED))
    for file in files:
        try:
            one = refined(crystal, file, given, fixed)
            yield analysis_of(crystal, one, question)
        except ValueError as error:
            yield error


def analysis_of(crystal: Structure, one: Refined, question: Question) -> Analysis:
    """Of a refined measurement; ValueError if it is unusable."""
    found, undamaged = one.refinement, question.undamaged
    refusals = refusals_of(crystal, found)
    if undamaged:
        try:
            found = less_faults(found, undamaged.refinement)
        except ValueError as error:
            raise ValueError(f"{one.file}: {error}") from None
    left = Left(found)
    host, limits = crystal.refined(found), {}
    if host is not None and not refusals:
        defects = defects_of(host, found.parameters.scattering, question.impurities)
        limits = limits_of(host, found, left, defects)
    analysis = Analysis(
        file=one.file,
        structure=crystal.path,
        reference=undamaged.file if undamaged else None,
        refinement=one.refinement,
        limits=limits,
        is_noise=left.is_noise,
        network=None,
        refusals=tuple(refusals),
        notes=one.notes,
    )
    if question.predictor is None or not limits:
        return analysis
    network, doubts = _asked(question.predictor, found, analysis.is_explained)
    return replace(analysis, network=network, notes=(*one.notes, *doubts))


def _asked(
    predictor: Predictor, found: Refinement, is_explained: bool
) -> tuple[Opinion | None, list[str]]:
    """What a network says, and what makes one doubt it; None where it was trained for others."""
    if not is_explained:
        return None, [
            "the network was not asked: what the host leaves is neither noise nor what defects do"
        ]
    if predictor.scattering != found.parameters.scattering:
        return None, [f"the network was not asked: it learned from {predictor.scattering} data"]
    try:
        opinion = predictor.opinion(found)
    except ValueError as error:
        return None, [f"the network was not asked: {error}"]
    if opinion.strange:
        return None, [f"the network was not asked: {reason}" for reason in opinion.strange]
    doubts = notes_on_range(predictor.problem.recipe, opinion.r, found)
    return opinion, [*doubts, *notes_on_scores(predictor.scores)]


def limits_of(
    host: Host, found: Refinement, left: Left, defects: Sequence[tuple[str, str | None]]
) -> dict[str, dict[str, KindLimit]]:
    """By kind and element, for a refined host; without kinds that none of the defects is of."""
    fits: dict[tuple[str, str], list[tuple[Change, Bound]]] = {}
    for change in changes(host, found, defects):
        of = fits.setdefault((change.kind, change.element or ""), [])
        of.append((change, left.fit(change)))
    limits: dict[str, dict[str, KindLimit]] = {kind: {} for kind, _ in defects}
    for (kind, element), every in fits.items():
        relaxed = [bound for change, bound in every if change.amplitude]
        rigid = [bound for change, bound in every if not change.amplitude]
        best = max(relaxed or rigid, key=lambda bound: bound.log_likelihood)
        limits[kind][element] = KindLimit(best, _upper(relaxed), _upper(rigid))
    return limits


def _upper(bounds: Sequence[Bound]) -> float | None:
    """The largest limit; None where it is beyond all that is asked, or nothing was fitted."""
    largest = max((bound.upper for bound in bounds), default=MOST)
    return largest if largest < MOST else None
