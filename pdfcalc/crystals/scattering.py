"""Scattering power of an atom, from periodictable (DOI 10.5281/zenodo.840347)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from pdfcalc.pdf.parameters import PDFParameters

_LABEL = re.compile(r"(?:(\d+)-?)?([A-Z][a-z]?)(?:(\d?)([+-]))?")


@lru_cache(maxsize=1024)
def scattering_power(label: str, parameters: PDFParameters) -> float:
    """Electrons of the atom (X-ray factor at Q = 0), or coherent scattering length in fm.

    Args:
        label: a symbol (Ni, D), an isotope (58-Ni or 58Ni), an ion (Ni2+, Cl-), or a name in
            `parameters.scattering_lengths`. As in diffpy.srreal, the charge of an ion counts for
            X-rays and the isotope for neutrons.

    Raises:
        ValueError: the label is none of these, or has no measured scattering length.
    """
    own = dict(parameters.scattering_lengths or ())
    if label in own:
        return own[label]
    atom, charge = _atom(label)
    if parameters.scattering == "xray":
        return float(atom.number - charge)
    if atom.neutron.b_c is None:
        raise ValueError(
            f"no neutron scattering length is tabulated for {label}: give it in scattering_lengths"
        )
    return float(atom.neutron.b_c)


def is_tabulated(label: str, parameters: PDFParameters) -> bool:
    """Whether `scattering_power` knows the label."""
    try:
        scattering_power(label, parameters)
    except ValueError:
        return False
    return True


def _atom(label: str) -> tuple[Any, int]:
    """periodictable's element or isotope, and the charge."""
    import periodictable

    match = _LABEL.fullmatch(label)
    try:
        if match is None:
            raise ValueError
        isotope, symbol, charge, sign = match.groups()
        atom = periodictable.elements.symbol(symbol)
        if isotope:
            atom = atom[int(isotope)]
    except (ValueError, KeyError):
        raise ValueError(
            f"{label!r} is not the symbol of an element, an isotope (58-Ni) or an ion (Ni2+): "
            "correct it, or give its scattering power in scattering_lengths"
        ) from None
    if not sign:
        return atom, 0
    number = int(f"{sign}{charge or 1}")
    if number not in atom.ions:
        raise ValueError(f"{label!r} is no ion of {symbol}: known charges are {atom.ions}")
    return atom, number
