"""The text of a CIF file as tags and their values, parsed by gemmi."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

MAXIMUM_LINE = 4096
"""Characters; CIF allows 2048."""

Tags = Mapping[str, "list[str | None]"]
"""Tags in lower case, without dots, and their values; None where one is absent, as . or ?."""

_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:\([\d.]*\))?")
_FRACTION = re.compile(r"([-+]?\d{1,3})/(\d{1,3})")
_UNQUOTED = re.compile(
    r"""^;.*?^; | ^(?P<block>data_\S*)[ ].*?$
        | ^(?P<tag>_\S+[ \t]+)(?P<text>[^\s'"_;\#\[{]\S*[ ][^'"\#\n]*|[\[{].*?)$""",
    re.MULTILINE | re.DOTALL | re.VERBOSE | re.IGNORECASE,
)
"""Text fields; names of blocks and values of several words that lack quotes; lists of CIF 2."""
_OF_CRYSTALS = ("_cell", "_symmetry", "_space_group", "_atom", "_chemical_formula")
_TRIPLE_QUOTED = re.compile(r"(\"{3}|'{3})(.*?)\1", re.DOTALL)
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


def number(value: str | None, tag: str) -> float | None:
    """A CIF number, with or without a standard uncertainty; None for one that is absent.

    Raises:
        ValueError: it is something else.
    """
    if value is None:
        return None
    match = _NUMBER.fullmatch(value.strip())
    result = float(match[1]) if match else math.nan
    if not math.isfinite(result):
        raise ValueError(f"{tag} {value[:40]!r} is not a number: write it as in 3.615 or 3.615(2)")
    return result


def coordinate(value: str | None, tag: str) -> float | None:
    """A `number`, or a fraction such as 1/3."""
    if value and (fraction := _FRACTION.fullmatch(value.strip())) and int(fraction[2]):
        return int(fraction[1]) / int(fraction[2])
    return number(value, tag)


def decoded(content: bytes) -> tuple[str, list[str]]:
    """The text, and what was assumed of it."""
    notes: list[str] = []
    if not content.strip():
        raise ValueError("the file is empty")
    if content.startswith(_BYTE_ORDER_MARKS):
        text = content.decode("utf-16", errors="replace")
    elif b"\0" in content:
        raise ValueError("the file is not text")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
            notes.append("text is not UTF-8; read as Latin-1")
    lines = [line.rstrip() for line in text.splitlines()]
    if (longest := max(map(len, lines))) > MAXIMUM_LINE:
        raise ValueError(f"a line of {longest} characters: not CIF")
    return "\n".join(lines), notes


def structure_block(text: str) -> Tags:
    """Tags of the one data block that lists atoms."""
    from gemmi import cif

    if not re.search(r"^\s*data_", text, re.MULTILINE | re.IGNORECASE):
        raise ValueError("not a CIF file: it has no data block")
    if text.startswith("#\\#CIF_2"):
        # gemmi knows the quotes of CIF 1: text fields hold the same.
        text = _TRIPLE_QUOTED.sub(r"\n;\2\n;\n", text)
    try:
        blocks = list(cif.read_string(text, 0))
    except (ValueError, RuntimeError) as error:
        try:
            blocks = list(cif.read_string(_UNQUOTED.sub(_quoted, text), 0))
        except (ValueError, RuntimeError):
            where = " ".join(str(error).split()).removeprefix("string:")
            raise ValueError(
                f"not valid CIF: cut off, or a loop_ has uneven rows (line {where})"
            ) from None
    all_tags = [(block.name, _tags(block)) for block in blocks]
    listing = [(name, tags) for name, tags in all_tags if "_atom_site_fract_x" in tags]
    if not listing:
        raise ValueError("no atoms: the file has no _atom_site_fract_x")
    if len(listing) > 1:
        names = ", ".join(name for name, _ in listing[:3])
        raise ValueError(
            f"holds {len(listing)} structures ({names}{', ...' * (len(listing) > 3)}): "
            "save each as its own file"
        )
    return listing[0][1]


def _quoted(found: re.Match[str]) -> str:
    if found["block"]:
        return found["block"]
    return f"{found['tag']}\n;{found['text']}\n;" if found["tag"] else found[0]


def _tags(block) -> dict[str, list[str | None]]:
    """Of a block of gemmi; dotted names are those of CIF 2 dictionaries."""
    from gemmi import cif

    found: dict[str, list[str | None]] = {}
    for item in block:
        if item.pair:
            pairs = [(item.pair[0], [item.pair[1]])]
        elif item.loop:
            width = item.loop.width()
            pairs = [(tag, item.loop.values[n::width]) for n, tag in enumerate(item.loop.tags)]
        else:
            continue
        for tag, values in pairs:
            name, texts = tag.lower().replace(".", "_"), map(cif.as_string, values)
            # Some programs write what is absent in quotes.
            read = [None if text.strip() in ("", ".", "?") else text for text in texts]
            before = found.setdefault(name, read)
            if any(before) and any(read) and before != read and name.startswith(_OF_CRYSTALS):
                raise ValueError(f"{name} is given twice, as {before[0]} and {read[0]}: keep one")
            found[name] = before if any(before) else read
    return found


def column(tags: Tags, tag: str) -> list[str | None]:
    """The values of a tag, one of a tag outside loops; none of one that is not there."""
    return tags.get(tag.lower(), [])


def given(tags: Tags, names: tuple[str, ...]) -> tuple[str, str] | None:
    """The first of some tags that has a value, and the first of its values."""
    found = ((name, value) for name in names for value in column(tags, name)[:1] if value)
    return next(found, None)
