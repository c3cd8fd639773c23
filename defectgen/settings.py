"""What defects to draw."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from defectgen.elements import metals

KINDS = ("vacancy", "self_interstitial", "substitution", "interstitial")
"""The kinds of point defect; kind k has label k + 1, and label 0 is the pristine host."""
INTERSTITIAL_KINDS = ("self_interstitial", "interstitial")
IMPURITY_KINDS = ("substitution", "interstitial")


class DefectSettings(BaseModel):
    """Kinds, numbers and fractions of the defects of each host.

    Variant 0 is the pristine host; then follow `variants_per_kind` variants of each kind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: tuple[str, ...] = Field(KINDS, min_length=1)
    variants_per_kind: int = Field(3, ge=1)
    fraction: tuple[float, float] = Field((0.01, 0.10), description="of host atoms, uniform")
    supercell: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (5, 5, 5), min_length=3, max_length=3, description="conventional cells along a, b, c"
    )
    impurities: tuple[str, ...] = Field(
        default_factory=metals, min_length=2, description="each host draws from those it is not"
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
    def _metals_in_order(cls, impurities: tuple[str, ...]) -> tuple[str, ...]:
        known = metals()
        for element in impurities:
            if element not in known:
                raise ValueError(f"{element!r} is not a metal of the element table")
        if len(set(impurities)) < len(impurities):
            raise ValueError("an impurity is named twice")
        return tuple(element for element in known if element in impurities)

    @model_validator(mode="after")
    def _sensible_fraction(self) -> DefectSettings:
        low, high = self.fraction
        if not 0 < low <= high <= 0.5:
            raise ValueError(f"fraction = {self.fraction}: need 0 < low <= high <= 0.5")
        return self

    @property
    def n_variants(self) -> int:
        """Variants of a host, the pristine one included."""
        return 1 + len(self.kinds) * self.variants_per_kind

    def kind_of(self, variant: int) -> str | None:
        """The kind of a variant; None for the pristine host."""
        return self.kinds[(variant - 1) // self.variants_per_kind] if variant else None
