"""Scattering power of an element, from periodictable (DOI 10.5281/zenodo.840347)."""

from __future__ import annotations

from functools import cache


@cache
def scattering_power(element: str, scattering: str) -> float:
    """Electrons of a neutral atom (X-ray factor at Q = 0), or coherent scattering length in fm.

    Raises:
        ValueError: the element is unknown, or has no measured scattering length.
    """
    import periodictable

    try:
        atom = periodictable.elements.symbol(element)
    except ValueError:
        raise ValueError(f"{element!r} is not the symbol of an element") from None
    if scattering == "xray":
        return float(atom.number)
    if atom.neutron.b_c is None:
        raise ValueError(f"no neutron scattering length is tabulated for {element}")
    return float(atom.neutron.b_c)
