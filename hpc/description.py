"""The description of a run: all that decides the bytes in its store."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from defectgen.hosts.elements import metals
from defectgen.point_defects.settings import DefectSettings
from pdfcalc.crystals.scattering import is_tabulated
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.reading import read_file


class LibrarySettings(BaseModel):
    """Where the hosts come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(
        "embedded",
        min_length=1,
        description="'embedded', or a library.json or a folder of CIF files, as seen from the "
        "folder of the description",
    )
    published_only: bool = Field(False, description="leave the embedded derived entries out")
    limit: int | None = Field(None, ge=1, description="take this many hosts, evenly spaced")


class PDFSettings(BaseModel):
    """Grid and instrument of the stored PDFs; the names are those of `PDFParameters`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rmin: float = 1.5
    rmax: float = 30.0
    points: int = Field(300, ge=2, description="stored points in [rmin, rmax)")
    rstep: float = Field(0.01, description="A; the stored points are multiples of it")
    qmin: float = 0.6
    qmax: float = Field(23.6, gt=0)
    qdamp: float = 0.0291601718936
    qbroad: float = 0.0103215402787
    scattering: Literal["xray", "neutron"] = "xray"

    @model_validator(mode="after")
    def _has_the_points(self) -> PDFSettings:
        available = len(self.parameters.r)
        if self.points > available:
            raise ValueError(f"points = {self.points}: the grid has only {available}")
        return self

    @property
    def parameters(self) -> PDFParameters:
        """The calculation; its grid is all multiples of rstep in [rmin, rmax)."""
        return PDFParameters(**self.model_dump(exclude={"points"}))

    @property
    def stored(self) -> np.ndarray:
        """(points,) indices of the stored points in `parameters.r`, as evenly spaced as can be."""
        return np.rint(np.linspace(0, len(self.parameters.r) - 1, self.points)).astype(int)


class RunDescription(BaseModel):
    """All that decides the contents of a store; the defaults are the reference study's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0)
    hosts_per_shard: int = Field(32, ge=1, description="unit of work and of writing")
    library: LibrarySettings = LibrarySettings()
    defects: DefectSettings = DefectSettings()
    pdf: PDFSettings = PDFSettings()


def read_description(path: Path | None, limit: int | None = None) -> RunDescription:
    """The run description of a TOML file (None: all defaults), with `limit` put over its own.

    Raises:
        ValueError: the file is not TOML, or a value is unknown or out of range.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(read_file(path).decode("utf-8-sig"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a TOML file: {error}") from None
    try:
        description = RunDescription.model_validate(values)
        defects = description.defects
        if description.pdf.scattering == "neutron":
            defects = _scattering_neutrons(defects, description.pdf.parameters)
    except ValidationError as error:
        raise ValueError(f"{path}: {first_mistake(error)}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    library = description.library
    if path is not None and library.source != "embedded":
        library = library.model_copy(update={"source": str(path.parent / library.source)})
    if limit is not None:
        library = library.model_copy(update={"limit": limit})
    return description.model_copy(update={"library": library, "defects": defects})


def _scattering_neutrons(defects: DefectSettings, parameters: PDFParameters) -> DefectSettings:
    """Without metals of no scattering length where all are taken; ValueError if one is listed."""
    every = defects.impurities
    known = tuple(element for element in every if is_tabulated(element, parameters))
    if known != every != metals():
        lost = ", ".join(element for element in every if element not in known)
        raise ValueError(
            f"defects.impurities: no neutron scattering length is tabulated for {lost}: "
            "leave it out"
        )
    return defects.model_copy(update={"impurities": known})


def first_mistake(error: ValidationError) -> str:
    """Place and message of the first mistake that pydantic found, in one line."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or "the description"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def differences(stored: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    """One line for each setting that differs between two descriptions."""
    lines = []
    for key in sorted(stored.keys() | wanted.keys()):
        old, new = stored.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: the store has {old!r}, this run has {new!r}")
    return lines
