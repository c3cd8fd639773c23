"""The text of a CIF file as tags and their values, split by pymatgen."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

MAXIMUM_LINE = 4096
"""Characters; CIF allows 2048."""

Tags = Mapping[str, "str | list[str]"]
"""Tags in lower case, and their values; those of a loop are lists."""


def number(value: str | None) -> float | None:
    """A CIF number, with or without a standard uncertainty; None for anything else."""
    match = re.fullmatch(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)(?:\(\d*\))?", (value or "").strip())
    try:
        result = float(match[1]) if match else math.nan
    except ValueError:
        return None
    return result if math.isfinite(result) else None


def decoded(content: bytes) -> tuple[str, list[str]]:
    """The text, in lines that pymatgen can take, and what was assumed of it."""
    if not content.strip():
        raise ValueError("the file is empty")
    if b"\0" in content:
        raise ValueError("the file is not text")
    try:
        text, notes = content.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        text, notes = content.decode("latin-1"), ["text is not UTF-8; read as Latin-1"]
    # pymatgen's expressions take quadratic time over long lines and runs of blanks.
    lines = [re.sub(r"[ \t]{2,}", " ", line).rstrip() for line in text.splitlines()]
    if max(map(len, lines)) > MAXIMUM_LINE:
        raise ValueError(f"a line of {max(map(len, lines))} characters: not CIF")
    return "\n".join(line for line in lines if line), notes


def structure_block(text: str) -> Tags:
    """Tags of the one data block that lists atoms."""
    from pymatgen.io.cif import CifBlock

    blocks = re.split(r"^[ \t]*data_", text, flags=re.MULTILINE | re.IGNORECASE)[1:]
    if not blocks:
        raise ValueError("not a CIF file: it has no data block")
    listing = [block for block in blocks if "_atom_site_fract_x" in block.lower()]
    if not listing:
        raise ValueError("no atoms: the file has no _atom_site_fract_x")
    if len(listing) > 1:
        names = ", ".join((block.split() or [""])[0] for block in listing[:3])
        raise ValueError(
            f"holds {len(listing)} structures ({names}{', ...' * (len(listing) > 3)}): "
            "save each as its own file"
        )
    try:
        data = CifBlock.from_str(f"data_{listing[0]}").data
    except Exception as error:  # pymatgen raises whatever its list operations happen to raise
        raise ValueError(f"not valid CIF: cut off, or a loop_ has uneven rows ({error})") from error
    return {tag.lower(): value for tag, value in data.items()}


def column(tags: Tags, tag: str) -> list[str]:
    """The values of a tag, one of a tag outside loops; none of one that is not there."""
    value = tags.get(tag.lower(), [])
    return [value] if isinstance(value, str) else value


def first_number(tags: Tags, names: tuple[str, ...]) -> float | None:
    """The first usable number among some tags' first values."""
    values = (number(value) for name in names for value in column(tags, name)[:1])
    return next((value for value in values if value is not None), None)
