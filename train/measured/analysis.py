"""What a measured PDF says of defects in a host, and above all what it can't exclude."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectgen.hosts.host import Host
from pdfcalc.measured.refinement import Refinement
from train.measured.limits import MOST, Bound, Change, Left, changes, defects_of
from train.measured.notes import refusals_of
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
        is_noise: whether what the host leaves may be noise.
    """

    file: Path
    structure: Path
    reference: Path | None
    refinement: Refinement
    limits: dict[str, dict[str, KindLimit]]
    is_noise: bool
    refusals: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def found(self) -> list[tuple[str, str]]:
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
    def verdict(self) -> str:
        """Kinds, likeliest first, or why none is named."""
        if self.refusals:
            return REFUSED
        if not self.found:
            return NO_EVIDENCE
        if not self.is_noise:
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
    for file in files:
        try:
            one = refined(crystal, file, given, fixed)
            yield analysis_of(crystal, one, undamaged, impurities)
        except ValueError as error:
            yield error


def analysis_of(
    crystal: Structure,
    one: Refined,
    undamaged: Refined | None,
    impurities: Sequence[str] | None,
) -> Analysis:
    """Of a refined measurement, arguments as of `analyse_files`; ValueError if it is unusable."""
    found = one.refinement
    refusals = refusals_of(crystal, found)
    try:
        left = Left(found, undamaged.refinement if undamaged else None)
    except ValueError as error:
        raise ValueError(f"{one.file}: {error}") from None
    host, limits = crystal.refined(found), {}
    if host is not None and not refusals:
        defects = defects_of(host, found.parameters.scattering, impurities)
        limits = limits_of(host, found, left, defects)
    return Analysis(
        file=one.file,
        structure=crystal.path,
        reference=undamaged.file if undamaged else None,
        refinement=found,
        limits=limits,
        is_noise=left.is_noise,
        refusals=tuple(refusals),
        notes=one.notes,
    )


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
