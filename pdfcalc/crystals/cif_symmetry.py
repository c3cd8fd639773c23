"""The symmetry operations of a CIF file: its own, or those of the space group it names.

gemmi parses operations and has the 564 settings of its tables; spglib knows the full symbols, and
the group of operations in whatever setting.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pdfcalc.crystals.cif_tags import Tags, column, given

if TYPE_CHECKING:
    from gemmi import Op, SpaceGroup

Operations = tuple[np.ndarray, np.ndarray]
"""Rotations (n, 3, 3) and translations (n, 3)."""

_XYZ_TAGS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_HALL_TAGS = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_SYMBOL_TAGS = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m_full",
    "_space_group_name_h-m_ref",
)
NUMBER_TAGS = ("_space_group_it_number", "_symmetry_int_tables_number")
_OTHER_OPERATIONS = re.compile(r"_\w*(symop|symmetry_equiv|ssg|magn)\w*(xyz|algebraic)\w*")
_OTHER_NAMES = re.compile(r"_space_group_(magn|ssg)\w*(name|number)\w*|_\w*name_schoenflies")
"""Tags in more dimensions, or with time reversal, and of symbols that leave the axes open."""
_LARGE_NUMBER = re.compile(r"(?<![.\d])\d{3,}")

AS_LISTED = "no symmetry operations; the atoms listed taken for the whole cell"
"""Assumed of a file that states no symmetry."""


@dataclass(frozen=True)
class Symmetry:
    """What a file says of its symmetry.

    Args:
        settings: that it may mean.
        are_listed: whether the first of them are operations of its own, to which those of the
            group that it names are added where they are more.
        notes: what was assumed.
    """

    settings: tuple[Operations, ...]
    are_listed: bool
    notes: tuple[str, ...]


def symmetry_of(tags: Tags) -> Symmetry:
    """Operations of every setting that the file may mean, and what was assumed.

    Raises:
        ValueError: an operation, a name or a tag is not understood, or they contradict each other.
    """
    named, unknown = _named(tags)
    for tag in _XYZ_TAGS:
        if texts := [text for text in column(tags, tag) if text is not None]:
            if unknown and len(texts) == 1:
                raise ValueError(f"{unknown}: correct it, or list all symmetry operations")
            listed = _listed(texts, named)
            return replace(listed, notes=(*listed.notes, unknown)) if unknown else listed
    for tag in tags:
        is_other = _OTHER_OPERATIONS.fullmatch(tag) or (not named and _OTHER_NAMES.fullmatch(tag))
        if is_other and any(tags[tag]):
            raise ValueError(
                f"its symmetry is told by {tag}, which is not read: add "
                "_space_group_symop_operation_xyz"
            )
    if unknown:
        raise ValueError(f"{unknown}: correct it, or add the symmetry operations")
    if named:
        value, groups = named
        note = f"no symmetry operations; those of space group {value!r} used"
        return Symmetry(tuple(group.operations for group in groups), False, (note,))
    identity = np.eye(3, dtype=int)[None], np.zeros((1, 3))
    return Symmetry((identity,), False, (AS_LISTED,))


class _Setting(NamedTuple):
    """A space group in some axes, about some origin."""

    number: int
    operations: Operations
    triplets: frozenset[str]


_Named = tuple[str, list[_Setting]]
"""What a file calls its space group, and the settings that this may mean."""


def _listed(texts: list[str], named: _Named | None) -> Symmetry:
    from gemmi import Op

    operations = {(op := _parsed(text).wrap()).triplet(): op for text in texts}
    notes = []
    if "x,y,z" not in operations:
        operations["x,y,z"] = Op("x,y,z")
        notes.append("the symmetry operations lack the identity x,y,z: added")
    value, settings = named or ("", [])
    for setting in settings:
        if setting.triplets == operations.keys():
            return Symmetry((setting.operations,), True, tuple(notes))
    listed = _setting(operations.values())
    if not _is_closed(*listed.operations):
        raise ValueError(
            f"the {len(operations)} symmetry operations listed are not a group: products of them "
            "are missing; list all"
        )
    if not settings or listed.number in {setting.number for setting in settings}:
        return Symmetry((listed.operations,), True, tuple(notes))
    fuller = [s.operations for s in settings if listed.triplets <= s.triplets]
    if not fuller:
        raise ValueError(
            f"the symmetry operations listed are those of space group {listed.number}, the group "
            f"named is {value!r}: correct one of them"
        )
    return Symmetry((listed.operations, *fuller), True, tuple(notes))


def _parsed(text: str):
    """gemmi's Op; ValueError if it is none."""
    from gemmi import Op

    try:
        if len(text) > 100 or _LARGE_NUMBER.search(text):
            raise ValueError
        operation = Op(text)
        if abs(operation.det_rot()) != Op.DEN**3:
            raise ValueError
    except (RuntimeError, ValueError):
        raise ValueError(f"symmetry operation {text[:40]!r} cannot be read") from None
    return operation


def _is_closed(rotations: np.ndarray, translations: np.ndarray) -> bool:
    """Whether different operations, with the identity, have no other products."""
    both = np.einsum("aij,bjk->abik", rotations, rotations)
    shifts = np.einsum("aij,bj->abi", rotations, translations) + translations[:, None]
    rows = np.concatenate([both.reshape(-1, 9), np.rint(shifts.reshape(-1, 3) * 24) % 24], axis=1)
    # Sums of large weights tell rows apart as rows themselves do, a hundred times faster.
    weights = np.random.default_rng(0).integers(1, 2**40, 12)
    return len(np.unique(rows.astype(np.int64) @ weights)) == len(rotations)


def _setting(group: Iterable[Op]) -> _Setting:
    import spglib
    from gemmi import Op

    operations = [op.wrap() for op in group]
    rotations = np.array([op.rot for op in operations]) // Op.DEN
    translations = np.array([op.tran for op in operations]) / Op.DEN
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of how it reports errors
        found = spglib.get_spacegroup_type_from_symmetry(rotations, translations)
    triplets = frozenset(op.triplet() for op in operations)
    return _Setting(found.number if found else 0, (rotations, translations), triplets)


def _named(tags: Tags) -> tuple[_Named | None, str]:
    """What a file calls its group, with the settings that this may mean; and what is unknown of it.

    Raises:
        ValueError: it has several names, of different groups.
    """
    found, unknown = [], ""
    for names, find in (
        (_HALL_TAGS, _of_hall_symbol),
        (_SYMBOL_TAGS, _of_symbol),
        (NUMBER_TAGS, _of_number),
    ):
        if said := given(tags, names):
            if groups := find(said[1]):
                found.append((said[1], groups))
            else:
                unknown = f"{said[0]} {said[1][:40]!r} is no space group of the tables"
    if not found:
        return None, unknown
    common = set.intersection(*({setting.number for setting in settings} for _, settings in found))
    if not common:
        each = " and ".join(f"{value!r} ({settings[0].number})" for value, settings in found)
        raise ValueError(f"its names of the space group contradict each other: {each}")
    value, settings = found[0]
    return (value, [setting for setting in settings if setting.number in common]), unknown


@lru_cache(maxsize=1024)
def _of_hall_symbol(symbol: str) -> list[_Setting]:
    from gemmi import symops_from_hall

    try:
        return [_setting(symops_from_hall(symbol.replace("_", " ")))]
    except RuntimeError:
        return []


@lru_cache(maxsize=1024)
def _of_number(value: str) -> list[_Setting]:
    return [_setting(s.operations()) for s in _table() if str(s.number) == value.strip()]


@lru_cache(maxsize=1024)
def _of_symbol(symbol: str) -> list[_Setting]:
    """Settings of a Hermann-Mauguin symbol; ICSD ends it with S, Z, H or R for the setting."""
    from gemmi import find_spacegroup_by_name

    plain = unicodedata.normalize("NFKC", symbol).replace("\N{MINUS SIGN}", "-")
    text = re.sub(r"[_()~'\"]", "", plain).strip()
    name, *rest = re.split(r"\s*:\s*|(?<=.)\s*(?=(?:[SZ]|HR?|RS?)$)", text, maxsplit=1)
    choice = rest[0] if rest else ""
    choice = {"S": "1", "Z": "2", "HR": "H", "RS": "R"}.get(choice.upper(), choice.upper())
    found = find_spacegroup_by_name(name)
    same = [
        setting
        for setting in _table()
        if (found and setting.hm == found.hm) or _squeezed(symbol) == setting.short_name().lower()
    ]
    chosen = [s for s in same if s.ext.strip("\0").upper() == choice] if choice else same
    return [_setting(s.operations()) for s in chosen] if same else _of_full_symbol(name)


def _of_full_symbol(symbol: str) -> list[_Setting]:
    """Settings of a symbol such as F 4/m -3 2/m, which gemmi's tables don't have."""
    import spglib
    from gemmi import symops_from_hall

    types = [kind for n in range(1, 531) if (kind := spglib.get_spacegroup_type(n))]
    return [
        _setting(symops_from_hall(kind.hall_symbol))
        for kind in types
        # Glide planes called e were a, b or c before.
        if re.fullmatch(
            _squeezed(kind.international_full).replace("e", "[abce]"), _squeezed(symbol)
        )
    ]


def _squeezed(symbol: str) -> str:
    return re.sub(r"[\s_]", "", symbol).lower()


@lru_cache(maxsize=1)
def _table() -> Sequence[SpaceGroup]:
    from gemmi import spacegroup_table

    return tuple(spacegroup_table())
