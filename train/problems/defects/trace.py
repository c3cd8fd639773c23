"""Which observable of a store the defects are told from, and what it is called."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import BaseModel, ConfigDict

from train.data.store import Dataset

PDF = "g"
"""The array of G(r), of which more is known than of any other trace."""


class Trace(BaseModel):
    """An array (structure, variant, X) of a store and its axis, as their attributes name them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    array: str
    axis: str
    long_name: str
    units: str
    axis_long_name: str
    axis_units: str

    @classmethod
    def of(cls, data: Dataset, wanted: str | None = None) -> Trace:
        """The wanted one; else `g` if it is there, else the only one.

        Raises:
            ValueError: there is none, or the choice is not clear.
        """
        found = list(_traces(data))
        if wanted is None:
            wanted = PDF if PDF in found else found[0] if len(found) == 1 else None
        if not found:
            raise ValueError(
                f"{data.path} is not a store with a trace: no array of floats has the dimensions "
                "(structure, variant, X) and the values of X beside it"
            )
        if wanted is None:
            raise ValueError(
                f"{data.path} has several traces: choose one of {', '.join(found)} by "
                "--set observable=NAME"
            )
        if wanted not in found:
            raise ValueError(f"{data.path} has no trace {wanted!r}, but {', '.join(found)}")
        axis = data.dims(wanted)[2]
        of, of_axis = data.attributes_of(wanted), data.attributes_of(axis)
        return cls(
            array=wanted,
            axis=axis,
            long_name=of.get("long_name", wanted),
            units=of.get("units", ""),
            axis_long_name=of_axis.get("long_name", axis),
            axis_units=of_axis.get("units", ""),
        )

    @property
    def is_pdf(self) -> bool:
        return self.array == PDF

    @property
    def title(self) -> str:
        """What several of them are called."""
        return "PDFs" if self.is_pdf else "traces"

    @property
    def quantity(self) -> str:
        """As in "un-normalised G(r)"."""
        return "G(r)" if self.is_pdf else self.long_name

    @property
    def label(self) -> str:
        """Of a figure's axis."""
        return "G (Å$^{-2}$)" if self.is_pdf else _with_units(self.long_name, self.units)

    @property
    def change_label(self) -> str:
        """As `label`, of a difference."""
        return f"Δ{self.label}" if self.is_pdf else f"change of {self.label}"

    @property
    def axis_label(self) -> str:
        return "r (Å)" if self.is_pdf else _with_units(self.axis_long_name, self.axis_units)


def _traces(data: Dataset) -> Iterator[str]:
    for name in data.names:
        dims, array = data.dims(name), data.array(name)
        if dims[:2] != ("structure", "variant") or len(dims) != 3:
            continue
        axis = dims[2]
        if np.dtype(array.dtype).kind == "f" and axis in data.names:
            yield name


def _with_units(name: str, units: str) -> str:
    return name if units in ("", "1") else f"{name} ({units})"
