"""What defects to draw."""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import chain, combinations
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from defectgen.hosts.elements import LIGHT, metals

KINDS = ("vacancy", "self_interstitial", "substitution", "interstitial")
"""The kinds of point defect; kind k has label k + 1, and label 0 is the pristine host."""
KIND_SETS: tuple[tuple[str, ...], ...] = tuple(
    chain.from_iterable(combinations(KINDS, size) for size in (0, 1, 2))
)
"""The kinds that variants hold, by label: none, one of them, or two at once."""
INTERSTITIAL_KINDS = ("self_interstitial", "interstitial")
IMPURITY_KINDS = ("substitution", "interstitial")


def set_name(kinds: tuple[str, ...]) -> str:
    """As a label is called that stands for these kinds, such as "vacancy+interstitial"."""
    return "+".join(kinds) or "pristine"


def kinds_named(name: str) -> tuple[str, ...]:
    """The kinds that a name of `set_name` stands for."""
    return tuple(kind for kind in name.split("+") if kind in KINDS)


class DefectSettings(BaseModel):
    """Kinds, numbers and fractions of the defects of each host.

    Variant 0 is the pristine host; then follow `variants_per_kind` variants of each kind, and
    `mixed_variants` of each pair of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: tuple[str, ...] = Field(KINDS, min_length=1)
    variants_per_kind: int = Field(3, ge=1)
    mixed_variants: int = Field(0, ge=0, description="of each two of the kinds at once")
    fraction: tuple[float, float] = Field((0.01, 0.10), description="of host atoms, uniform")
    fractions: dict[str, tuple[float, float]] = Field(
        {}, description="of kinds that have another range than `fraction`, by kind"
    )
    supercell: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (5, 5, 5), min_length=3, max_length=3, description="conventional cells along a, b, c"
    )
    impurities: tuple[str, ...] = Field(
        default_factory=metals,
        min_length=1,
        description="metals, and H, C, N or O for interstitials; each host draws from those it is "
        "not",
    )
    impurity_uiso: Literal["element", "host"] = Field(
        "element",
        description="whether foreign metal atoms vibrate as in their own metal, or about as the "
        "atoms of the host, by mass and with a scatter",
    )
    separation: float = Field(
        0.8,
        ge=0,
        le=3,
        description="least distance of two interstitials, as a fraction of the distance of "
        "nearest neighbours in the host",
    )

    @field_validator("kinds")
    @classmethod
    def _known_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(f"{kind!r} is not one of {', '.join(KINDS)}")
        if len(set(kinds)) < len(kinds):
            raise ValueError("a kind is named twice")
        return kinds

    @field_validator("impurities")
    @classmethod
    def _known_in_order(cls, impurities: tuple[str, ...]) -> tuple[str, ...]:
        # Metals come first, so that those of substitutions are the first ones of all.
        known = (*metals(), *LIGHT)
        for element in impurities:
            if element not in known:
                raise ValueError(
                    f"{element!r} is not a metal of the element table, nor {_listed(LIGHT)}"
                )
        if len(set(impurities)) < len(impurities):
            raise ValueError("an impurity is named twice")
        return tuple(element for element in known if element in impurities)

    @model_validator(mode="after")
    def _sensible_fraction(self) -> DefectSettings:
        ranges = {"fraction": self.fraction}
        for kind, range_ in self.fractions.items():
            if kind not in self.kinds:
                raise ValueError(f"fractions: {kind!r} is not one of {', '.join(self.kinds)}")
            ranges[f"fractions.{kind}"] = range_
        for name, (low, high) in ranges.items():
            if not 0 < low <= high <= 0.5:
                raise ValueError(f"{name} = {(low, high)}: need 0 < low <= high <= 0.5")
        if self.fractions and self.mixed_variants:
            raise ValueError("fractions are of one kind at a time: leave mixed_variants out")
        return self

    @model_validator(mode="after")
    def _has_metals_to_substitute(self) -> DefectSettings:
        if "substitution" in self.kinds and set(self.impurities) <= set(LIGHT):
            raise ValueError(
                f"impurities: {_listed(self.impurities)} sits between atoms only: leave "
                "substitution out of kinds, or name a metal as well"
            )
        return self

    @model_validator(mode="after")
    def _has_kinds_to_mix(self) -> DefectSettings:
        if self.mixed_variants and len(self.kinds) < 2:
            raise ValueError(f"mixed_variants = {self.mixed_variants}: give two kinds or more")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_newer(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = dump(self)
        # Stores without them are described, and known again, as before there were any.
        for name in ("mixed_variants", "fractions", "impurity_uiso"):
            if values[name] == type(self).model_fields[name].default:
                del values[name]
        return values

    @property
    def n_variants(self) -> int:
        """Variants of a host, the pristine one included."""
        n_pairs = math.comb(len(self.kinds), 2)
        return 1 + len(self.kinds) * self.variants_per_kind + n_pairs * self.mixed_variants

    @property
    def n_labels(self) -> int:
        """Labels that variants may have, from 0 on: places in `KIND_SETS`."""
        return len(KIND_SETS) if self.mixed_variants else 1 + len(KINDS)

    def fraction_of(self, kinds: tuple[str, ...]) -> tuple[float, float]:
        """Lowest and highest number of defects of these kinds, as a fraction of host atoms."""
        return self.fractions.get(set_name(kinds), self.fraction)

    @property
    def highest_fraction(self) -> float:
        """Of any kind."""
        return max(self.fraction_of((kind,))[1] for kind in self.kinds)

    def impurities_of(self, element: str, kinds: Collection[str]) -> tuple[str, ...]:
        """The impurities that a host of this element draws from for a variant of these kinds.

        Those it is not, and metals alone where some of them are substitutions.
        """
        left_out = (element, *LIGHT) if "substitution" in kinds else (element,)
        return tuple(impurity for impurity in self.impurities if impurity not in left_out)

    def kinds_of(self, variant: int) -> tuple[str, ...]:
        """The kinds that a variant holds, in the order of `KINDS`; none for the pristine host."""
        if variant == 0:
            return ()
        n_single = len(self.kinds) * self.variants_per_kind
        if variant <= n_single:
            return (self.kinds[(variant - 1) // self.variants_per_kind],)
        pairs = list(combinations(self.kinds, 2))
        pair = pairs[(variant - n_single - 1) // self.mixed_variants]
        return tuple(sorted(pair, key=KINDS.index))


def _listed(elements: tuple[str, ...]) -> str:
    """As in "H, C or N"."""
    *others, last = elements
    return f"{', '.join(others)} or {last}" if others else last
