"""The symmetry operations of a CIF file: its own, or those of the space group it names.

pymatgen parses operations, spglib's tables give those of a group.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from pdfcalc.crystals.cif_tags import Tags, column, number

_XYZ_TAGS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_HALL_TAGS = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_SYMBOL_TAGS = ("_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m")
NUMBER_TAGS = ("_space_group_it_number", "_symmetry_int_tables_number")

AS_LISTED = "no symmetry operations; the atoms listed taken for the whole cell"
"""Assumed of a file that states no symmetry, or one that is not known."""


def settings_of(tags: Tags) -> tuple[tuple[tuple[np.ndarray, np.ndarray], ...], list[str]]:
    """Operations of every setting that the file may mean, and what was assumed."""
    for tag in _XYZ_TAGS:
        if column(tags, tag):
            return (_parsed_operations(column(tags, tag)),), []
    for tags_of_kind, find in (
        (_HALL_TAGS, _halls_of_hall_symbol),
        (_SYMBOL_TAGS, _halls_of_symbol),
        (NUMBER_TAGS, _halls_of_number),
    ):
        for tag in tags_of_kind:
            for value in column(tags, tag)[:1]:
                if halls := find(value):
                    note = f"no symmetry operations; those of space group {value!r} used"
                    return tuple(_database_operations(hall) for hall in halls), [note]
    identity = np.eye(3, dtype=int)[None], np.zeros((1, 3))
    return (identity,), [AS_LISTED]


def _parsed_operations(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    from pymatgen.core.operations import SymmOp

    affine = []
    for text in texts:
        try:
            matrix = SymmOp.from_xyz_str(text).affine_matrix
        except Exception as error:
            raise ValueError(f"symmetry operation {text!r} cannot be read") from error
        if abs(abs(np.linalg.det(matrix[:3, :3])) - 1) > 1e-6:
            raise ValueError(f"{text!r} is not a symmetry operation")
        affine.append(matrix)
    stack = np.array(affine)
    return stack[:, :3, :3], stack[:, :3, 3]


def _database_operations(hall_number: int) -> tuple[np.ndarray, np.ndarray]:
    import spglib

    symmetry = spglib.get_symmetry_from_database(hall_number)
    assert symmetry is not None
    return symmetry["rotations"], symmetry["translations"]


@lru_cache(maxsize=1)
def _space_group_types() -> tuple:
    import spglib

    return tuple(spglib.get_spacegroup_type(hall_number) for hall_number in range(1, 531))


def _bare(symbol: str) -> str:
    return re.sub(r"[\s_'\"]", "", symbol).lower()


def _halls_of_hall_symbol(symbol: str) -> list[int]:
    return [t.hall_number for t in _space_group_types() if _bare(t.hall_symbol) == _bare(symbol)]


def _halls_of_number(value: str) -> list[int]:
    return [t.hall_number for t in _space_group_types() if t.number == number(value)]


def _halls_of_symbol(symbol: str) -> list[int]:
    """Settings of a Hermann-Mauguin symbol; ICSD ends it with S, Z, H or R for the setting."""
    parts = re.split(r"\s*:\s*|\s+(?=(?:[SZ]|HR?|RS?)$)", symbol.strip(), flags=re.IGNORECASE)
    bare, choice = _bare(parts[0]), parts[-1].upper() if len(parts) > 1 else ""
    choice = {"S": "1", "Z": "2", "HR": "H", "RS": "R"}.get(choice, choice)
    found = [
        t
        for t in _space_group_types()
        # Cubic symbols were written without the bar over 3 before 1992.
        if bare in (_bare(t.international_short), _bare(t.international_full))
        or (t.number >= 195 and bare == _bare(t.international_short).replace("-3", "3"))
    ]
    chosen = [t for t in found if t.choice.upper() == choice] if choice else found
    return [t.hall_number for t in chosen or found]
