"""Elemental metals with point defects: the pristine host first, then its defective variants."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer
from pydantic import Field as Setting

from defectgen.hosts.elements import atomic_number, metals
from defectgen.hosts.flags import flag_of
from defectgen.hosts.host import Host
from defectgen.hosts.library import embedded_library, open_library, take
from defectgen.point_defects.settings import KIND_SETS, KINDS, DefectSettings, set_name
from defectgen.point_defects.variants import HostSupercell, Variant
from defectgen.samples import Coordinate, Field, LatticeView, Sample
from pdfcalc.reading import read_file

log = logging.getLogger(__name__)
EMBEDDED = "embedded"


class LibrarySettings(BaseModel):
    """Where the hosts come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Setting(
        EMBEDDED,
        min_length=1,
        description="'embedded', or a library.json or a folder of CIF files, as seen from the "
        "folder of the description",
    )
    published_only: bool = Setting(False, description="leave the embedded derived entries out")
    flagged: bool = Setting(
        True, description="take those in that are hardly crystals of their element (hosts/flags.py)"
    )
    limit: int | None = Setting(None, ge=1, description="take this many hosts, evenly spaced")

    @model_serializer(mode="wrap")
    def _without_what_is_newer(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = dump(self)
        # Stores without it are described as before there was any.
        if values.get("flagged", False):
            del values["flagged"]
        return values


def _column(dtype: str, long_name: str, units: str | None = None) -> Field:
    attributes = {"long_name": long_name} | ({"units": units} if units else {})
    return Field(dtype, None, attributes, per_variant=False)


_COLUMNS = {
    "id": _column("str", "host"),
    "element": _column("str", "host element"),
    "space_group": _column("int16", "space group number", "1"),
    "a": _column("float64", "conventional cell length a", "angstrom"),
    "c": _column("float64", "conventional cell length c", "angstrom"),
    "uiso": _column("float64", "mean-square displacement", "angstrom2"),
    "temperature": _column("float64", "temperature; NaN where not reported", "kelvin"),
    "pressure": _column("float64", "pressure; NaN where not reported", "gigapascal"),
    "origin": _column("str", "published, derived or cif"),
    "source": _column("str", "citation or file of the host"),
}


class Defects(BaseModel):
    """Hosts of a library, with the defects that `DefectSettings` describes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str] = "defects"
    revision: ClassVar[int] = 1
    item: ClassVar[type[BaseModel]] = Host
    title: ClassVar[str] = "elemental metals with point defects"
    locating: ClassVar[frozenset[str]] = frozenset({"library"})

    library: LibrarySettings = LibrarySettings()
    defects: DefectSettings = DefectSettings()

    @property
    def n_variants(self) -> int:
        return self.defects.n_variants

    def fields(self) -> dict[str, Field]:
        names = [set_name(kinds) for kinds in KIND_SETS[: self.defects.n_labels]]
        label = {
            "long_name": "kind of defect; -1 where the host failed",
            "flag_values": list(range(len(names))),
            "flag_meanings": " ".join(names),
        }
        concentration = {"long_name": "defects as a fraction of host atoms", "units": "1"}
        impurity = {
            "long_name": "atomic number of the impurity; 0 where there is none",
            "units": "1",
        }
        fields = {
            "label": Field("int8", -1, label),
            "concentration": Field("float32", math.nan, concentration),
            "impurity": Field("uint8", 0, impurity),
            "n_atoms": Field("int32", 0, {"long_name": "atoms in the supercell", "units": "1"}),
        }
        if self.defects.mixed_variants:
            n_defects = {"long_name": "defects of each kind in the supercell", "units": "1"}
            fields["n_defects"] = Field("int32", 0, n_defects, ("kind",))
        return _COLUMNS | fields

    def coordinates(self) -> dict[str, Coordinate]:
        if not self.defects.mixed_variants:
            return {}
        kinds = np.array(KINDS, np.dtypes.StringDType())
        return {"kind": Coordinate(kinds, {"long_name": "kind of defect"})}

    def located(self, folder: Path | None, limit: int | None) -> Defects:
        library = self.library
        if folder is not None and library.source != EMBEDDED:
            library = library.model_copy(update={"source": str(folder / library.source)})
        if limit is not None:
            library = library.model_copy(update={"limit": limit})
        return self.model_copy(update={"library": library})

    def suited(self, lack: Callable[[str], str | None]) -> Defects:
        every = self.defects.impurities
        lacks = {element: why for element in every if (why := lack(element))}
        if lacks and every != metals():
            why = next(iter(lacks.values()))
            raise ValueError(f"defects.impurities: {why} for {', '.join(lacks)}: leave it out")
        known = tuple(element for element in every if element not in lacks)
        defects = self.defects.model_copy(update={"impurities": known})
        return self.model_copy(update={"defects": defects})

    def digest(self) -> str:
        digest = hashlib.sha256(self.library.model_dump_json(exclude={"source"}).encode())
        source = Path(self.library.source)
        if self.library.source == EMBEDDED:
            digest.update(files("defectgen.hosts").joinpath("data", "library.json").read_bytes())
        elif source.is_dir():
            from defectgen.hosts.cif import LARGEST, cif_paths

            for file in cif_paths(source)[0]:
                # What can't be read is quarantined, and gives no host.
                with suppress(OSError):
                    content = read_file(file, LARGEST)
                    digest.update(f"{file.relative_to(source)} {len(content)}\n".encode())
                    digest.update(content)
        elif source.is_file():
            with source.open("rb") as library:
                digest.update(hashlib.file_digest(library, "sha256").digest())
        return digest.hexdigest()

    def items(self) -> Sequence[Host]:
        hosts = self._all_hosts()
        if not self.library.flagged:
            sound = [place for place, host in enumerate(hosts) if flag_of(host) is None]
            log.info("%d flagged hosts are left out", len(hosts) - len(sound))
            hosts = take(hosts, np.array(sound, dtype=int))
        if not hosts:
            raise ValueError(f"{self.library.source}: no usable host; see `defectpdf library`")
        limit = self.library.limit
        if limit is not None and limit < len(hosts):
            hosts = evenly_spaced(hosts, limit)
        return hosts

    def _all_hosts(self) -> Sequence[Host]:
        published_only = self.library.published_only
        if self.library.source == EMBEDDED:
            return embedded_library(published_only=published_only)
        path = Path(self.library.source)
        if path.is_dir():
            return self._hosts_of_folder(path)
        hosts = open_library(path)
        if not published_only:
            return hosts
        return take(hosts, np.flatnonzero([host.origin == "published" for host in hosts]))

    def _hosts_of_folder(self, path: Path) -> list[Host]:
        from defectgen.hosts.cif import read_cif_folder

        if self.library.published_only:
            raise ValueError(f"{path}: published_only is for libraries, not for CIF files")
        folder = read_cif_folder(path)
        if folder.quarantined:
            log.info(
                "%d of the CIF files are not used; `defectpdf library --cif %s` says why",
                len(folder.quarantined),
                path,
            )
        return folder.hosts

    def size(self, item: Host) -> float:
        return len(item.frac)

    def draw(self, item: Host, seed: int) -> list[Sample]:
        supercell = HostSupercell(item, self.defects)
        variants = [supercell.variant(seed, index) for index in range(self.n_variants)]
        return [
            Sample(
                key=(seed, item.id, index),
                atoms=partial(supercell.atoms, variant),
                lattice=LatticeView(supercell.crystal, variant.change),
                crystal=item.atoms,
                values=self._values(supercell, variant),
            )
            for index, variant in enumerate(variants)
        ]

    def _values(self, supercell: HostSupercell, variant: Variant) -> dict[str, object]:
        change = variant.change
        values: dict[str, object] = {
            "label": variant.label,
            "concentration": variant.concentration,
            "impurity": atomic_number(variant.impurity) if variant.impurity else 0,
            "n_atoms": supercell.n_atoms + change.n_own + len(change.added.site),
        }
        if self.defects.mixed_variants:
            values["n_defects"] = variant.n_defects
        return values


def evenly_spaced(hosts: Sequence[Host], count: int) -> Sequence[Host]:
    """So many of the hosts, from the whole of them."""
    return take(hosts, np.arange(count) * len(hosts) // count)


PLUG_IN = Defects
