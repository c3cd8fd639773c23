"""Whether what a file says of a metal can be true of it: displacements, volume."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache

from defectgen.hosts.elements import atomic_volume, debye_kind, debye_uiso, metals
from pdfcalc.crystals.cif import Description
from pdfcalc.crystals.cif_displacements import first_of
from pdfcalc.crystals.symbols import element_of

_ZERO_POINT = 0.7
"""Part of the zero-point motion that a displacement must reach; Debye temperatures are rough."""
_AT_MELTING = {"b_factor": 1.5}
"""How often the displacement at melting may be exceeded, by the kind of the Debye temperature."""
_AT_MELTING_OTHERS = 2.5

_VOLUME = (0.5, 1.9)
"""Of the usual volume per atom: K has 0.5 of it at 9 GPa, delta-Pu 1.25, a cell that lacks half of
its atoms 2."""
_COMPRESSED = 0.25
"""At a pressure of more than `_AMBIENT`: Cs has 0.31 of its usual volume at 8 GPa."""
_AMBIENT = 0.1
"""GPa"""


def plausible_uiso(description: Description) -> tuple[list[float | None], list[str]]:
    """Uiso (A^2) of each listed atom, None where it has no usable one, and what was left out.

    Displacements are compared with those of the Debye model from 0 K to melting in crystals of
    metals only; in others, bonds may be stiffer and cages wider than in any metal.
    """
    if not is_metallic(description):
        return [atom.moves.uiso for atom in description.atoms], []
    usable: list[float | None] = []
    left_out: dict[str, list[str]] = defaultdict(list)
    for atom in description.atoms:
        uiso, (low, high) = atom.moves.uiso, _window(element_of(atom.element))
        usable.append(uiso if uiso is not None and low <= uiso <= high else None)
        if usable[-1] != uiso:
            usual = f"{atom.element} has {low:.2g} to {high:.2g} A^2 between 0 K and melting"
            left_out[usual].append(f"{atom.label} ({uiso:.4g} A^2)")
    notes = [f"Uiso of {first_of(atoms)} left out: {usual}" for usual, atoms in left_out.items()]
    return usable, notes


def is_metallic(description: Description) -> bool:
    return {element_of(atom.element) for atom in description.atoms} <= set(metals())


def objection_to_volume(element: str, volume: float, pressure: float | None) -> str | None:
    """Why a metal can't have a volume per atom (A^3) at a pressure (GPa), if it can't."""
    usual = atomic_volume(element)
    is_compressed = pressure is not None and pressure > _AMBIENT
    low = _COMPRESSED if is_compressed else _VOLUME[0]
    if low <= volume / usual <= _VOLUME[1]:
        return None
    remedy = "correct the cell (in angstrom) or the atoms"
    if volume < usual and not is_compressed:
        remedy += ", or add _diffrn_ambient_pressure (kPa)"
    return f"{volume:.3g} A^3 per atom, where {element} takes {usual:.3g}: {remedy}"


@lru_cache(maxsize=128)
def _window(element: str) -> tuple[float, float]:
    from pymatgen.core import Element

    melting = float(Element(element).melting_point)
    factor = _AT_MELTING.get(debye_kind(element), _AT_MELTING_OTHERS)
    return _ZERO_POINT * debye_uiso(element, 0.0), factor * debye_uiso(element, melting)
