"""The description of a run: all that decides the bytes in its store."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SkipValidation,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails

from defectgen.plugins import find_plug_in
from defectgen.point_defects.settings import DefectSettings
from defectgen.samples import Located, PlugIn, Source, Stage
from defectgen.sources.defects import Defects
from hpc.observables import Observable
from hpc.observables.atoms import Atoms
from hpc.observables.pdf import PairDistributionFunction
from pdfcalc.reading import read_file

_SOURCES, _STAGES, _OBSERVABLES = "defectgen.sources", "defectgen.stages", "hpc.observables"


class RunDescription(BaseModel):
    """All that decides the contents of a store; the defaults are the reference study's.

    In a file a source is a table [source.NAME], a stage one of the tables [[stage]] with its name,
    an observable a table [observable.NAME]. The source "defects" is spelled [library] and
    [defects], the observable "pdf" [pdf], as they were before there were others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    seed: int = Field(0, ge=0)
    hosts_per_shard: int = Field(32, ge=1, description="items; the unit of work and of writing")
    source: SkipValidation[Source] = Defects()
    stages: SkipValidation[tuple[Stage, ...]] = ()
    observables: SkipValidation[dict[str, Observable]] = {"pdf": PairDistributionFunction()}

    @model_validator(mode="before")
    @classmethod
    def _with_plug_ins(cls, values: Any) -> Any:
        """Settings of plug-ins, as a file has them, made into these."""
        if not isinstance(values, Mapping):
            return values
        rest = dict(values)
        found: dict[str, Any] = {}
        if isinstance(rest.get("source"), Mapping) or {"library", "defects"} & rest.keys():
            found["source"] = _source_of(rest)
        if "stage" in rest:
            found["stages"] = tuple(_stages_of(rest.pop("stage")))
        if {"pdf", "observable"} & rest.keys():
            found["observables"] = dict(_observables_of(rest))
        return rest | found

    @model_validator(mode="after")
    def _keeps_what_is_not_exact(self) -> RunDescription:
        for stage in self.stages:
            if not stage.exact and list(self.observables) != [Atoms.name]:
                raise ValueError(
                    f"stage {stage.name} gives other last digits on other machines: compute "
                    "[observable.atoms] alone with it, and take that store as [source.store] of "
                    "other runs"
                )
        return self

    @model_serializer
    def _as_in_a_file(self, info: SerializationInfo) -> dict[str, Any]:
        values: dict[str, Any] = {"seed": self.seed, "hosts_per_shard": self.hosts_per_shard}
        source = self.source.model_dump(mode=info.mode)
        is_old = self.source.name == Defects.name
        values |= source if is_old else {"source": {self.source.name: source}}
        if self.stages:
            values["stage"] = [
                {"name": stage.name} | stage.model_dump(mode=info.mode) for stage in self.stages
            ]
        of_observables = {
            name: observable.model_dump(mode=info.mode)
            for name, observable in self.observables.items()
        }
        if (pdf := of_observables.pop(PairDistributionFunction.name, None)) is not None:
            values["pdf"] = pdf
        return values | ({"observable": of_observables} if of_observables else {})

    @property
    def pdf(self) -> PairDistributionFunction:
        """Of a run that computes PDFs; ValueError for any other."""
        pdf = self.observables.get(PairDistributionFunction.name)
        if not isinstance(pdf, PairDistributionFunction):
            raise ValueError(f"this needs G(r), and the run has {', '.join(self.observables)} only")
        return pdf

    @property
    def defects(self) -> DefectSettings:
        """Of a run of point defects; ValueError for any other."""
        found = getattr(self.source, "defects", None)
        if not isinstance(found, DefectSettings):
            raise ValueError(f"this needs point defects, and the run has {self.source.title}")
        return found

    @property
    def of_samples(self) -> str:
        """What to call what is computed of samples, for people."""
        return "PDFs" if list(self.observables) == [PairDistributionFunction.name] else "samples"

    @property
    def plug_ins(self) -> list[PlugIn]:
        """Source, stages and observables, in the order of what they do."""
        return [self.source, *self.stages, *self.observables.values()]

    @property
    def revisions(self) -> dict[str, int]:
        """Of the formulas of each plug-in, by its name, where it is not the first."""
        return {one.name: one.revision for one in self.plug_ins if one.revision > 1}

    @property
    def identity(self) -> dict[str, Any]:
        """What decides a store's contents, for JSON, but for the items themselves."""
        values = self.model_dump(mode="json")
        own = values["source"][self.source.name] if "source" in values else values
        for name in self.source.locating:
            del own[name]
        for stage, settings in zip(self.stages, values.get("stage", []), strict=True):
            if isinstance(stage, Located):
                for name in stage.locating:
                    del settings[name]
        return values | ({"revisions": self.revisions} if self.revisions else {})


def _source_of(values: dict[str, Any]) -> Source:
    """Takes what is said of the source out of `values`."""
    old = {name: values.pop(name) for name in ("library", "defects") if name in values}
    named = values.pop("source", {})
    if old:
        named = {**named, Defects.name: old}
    if len(named) > 1:
        raise ValueError(f"source: give one, not {' and '.join(sorted(named))}")
    ((name, settings),) = named.items()
    place = () if old else ("source", name)
    return _made(_SOURCES, name, settings, place)


def _stages_of(tables: Any) -> Iterator[Stage]:
    if not isinstance(tables, list) or not all("name" in table for table in tables):
        raise ValueError("stage: write a table [[stage]] with a name for each")
    for number, table in enumerate(tables):
        settings = {key: value for key, value in table.items() if key != "name"}
        yield _made(_STAGES, table["name"], settings, ("stage", number))


def _observables_of(values: dict[str, Any]) -> Iterator[tuple[str, Observable]]:
    """Takes what is said of observables out of `values`."""
    named: dict[str, tuple[Any, tuple[str | int, ...]]] = {}
    if "pdf" in values:
        named[PairDistributionFunction.name] = values.pop("pdf"), ("pdf",)
    tables = values.pop("observable", {})
    if not isinstance(tables, Mapping):
        raise ValueError("observable: write a table [observable.NAME] for each")
    for name, settings in tables.items():
        named[name] = settings, ("observable", name)
    for name, (settings, place) in named.items():
        yield name, _made(_OBSERVABLES, name, settings, place)


def _made(room: str, name: str, settings: Any, place: tuple[str | int, ...]) -> Any:
    """A plug-in of its settings; what is wrong with them is said of their place in the file."""
    try:
        return find_plug_in(room, name).model_validate(settings)
    except ValidationError as error:
        details = [
            InitErrorDetails(
                type=one["type"],
                loc=(*place, *one["loc"]),
                input=one["input"],
                ctx=one.get("ctx", {}),
            )
            for one in error.errors()
        ]
        raise ValidationError.from_exception_data(error.title, details) from None


def read_description(path: Path | None, limit: int | None = None) -> RunDescription:
    """The run description of a TOML file (None: all defaults), with `limit` put over its own.

    Raises:
        ValueError: the file is not TOML, or a value is unknown or out of range.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(read_file(path).decode("utf-8-sig"))
        except ValueError as error:
            raise ValueError(f"{path} is not a TOML file: {error}") from None
        except RecursionError:
            raise ValueError(f"{path} is not a run description: nested too deeply") from None
    try:
        description = RunDescription.model_validate(values)
        source, folder = description.source, path and path.parent
        for observable in description.observables.values():
            source = source.suited(observable.lack)
        stages = [
            stage.located(folder) if isinstance(stage, Located) else stage
            for stage in description.stages
        ]
        source = source.located(folder, limit)
    except ValidationError as error:
        raise ValueError(f"{path}: {first_mistake(error)}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return description.model_copy(update={"source": source, "stages": tuple(stages)})


def first_mistake(error: ValidationError) -> str:
    """Place and message of the first mistake that pydantic found, in one line."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


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
