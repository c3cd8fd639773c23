"""How an atom scatters: tables of periodictable (DOI 10.5281/zenodo.840347)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

_LABEL = re.compile(r"(?:(\d+)-?)?([A-Z][a-z]?)(?:(\d?)([+-]))?")
HIGHEST_S = 6.0
"""1/A, up to which the form factors were fitted."""


@lru_cache(maxsize=1024)
def scattering_power(
    label: str, radiation: str, scattering_lengths: tuple[tuple[str, float], ...] = ()
) -> float:
    """Electrons of the atom (X-ray factor at Q = 0), or coherent scattering length in fm.

    Args:
        label: a symbol (Ni, D), an isotope (58-Ni or 58Ni), an ion (Ni2+, Cl-), or a name in
            `scattering_lengths`. As in diffpy.srreal, the charge of an ion counts for X-rays and
            the isotope for neutrons.
        radiation: "xray" or "neutron".
        scattering_lengths: pairs of a label and what it scatters, in place of the tables.

    Raises:
        ValueError: the label is none of these, or has no measured scattering length that holds at
            all energies.
    """
    own = dict(scattering_lengths)
    if label in own:
        return own[label]
    atom, charge = _atom(label, "correct it, or give its scattering power in scattering_lengths")
    if radiation == "xray":
        return float(atom.number - charge)
    if lack := lack_of(label, radiation):
        raise ValueError(f"{lack} for {label}: give it in scattering_lengths")
    return float(atom.neutron.b_c)


def lack_of(label: str, radiation: str) -> str | None:
    """Why `scattering_power` has no value of an element or isotope of its own; None if it has."""
    if radiation == "xray":
        return None
    neutron = _atom(label, "correct it")[0].neutron
    if neutron.b_c is None:
        return "no neutron scattering length is tabulated"
    if neutron.is_energy_dependent:
        return "the neutron scattering length depends on the energy, and none is tabulated"
    return None


def form_factor(label: str, s: npt.ArrayLike) -> np.ndarray:
    """X-ray form factor f0(s) in electrons, of the shape of s; without anomalous scattering.

    D. Waasmaier and A. Kirfel, Acta Cryst. A51 (1995) 416, DOI 10.1107/S0108767394013292. At s = 0
    the fits differ from the number of electrons by up to 0.04.

    Args:
        label: as of `scattering_power`; isotopes scatter as their element does.
        s: sin(theta) / lambda = Q / (4 pi), 1/A.

    Raises:
        ValueError: the label is no element or ion of the table, or s is not in [0, 6].
    """
    from periodictable import cromermann

    atom, charge = _atom(label, "correct it")
    s = np.asarray(s, dtype=float)
    if s.size and not (s.min() >= 0 and s.max() <= HIGHEST_S):
        raise ValueError(
            f"s = {s.min():g} to {s.max():g}: form factors are known for 0 to {HIGHEST_S:g} 1/A"
        )
    symbol = atom.symbol if atom.symbol not in ("D", "T") else "H"
    try:
        return cromermann.fxrayatstol(symbol, s, charge)
    except KeyError:
        raise ValueError(
            f"no X-ray form factor is tabulated for {label}: take the neutral element"
        ) from None


def has_form_factor(label: str) -> bool:
    """Whether `form_factor` knows the label."""
    try:
        form_factor(label, 0.0)
    except ValueError:
        return False
    return True


def _atom(label: str, remedy: str) -> tuple[Any, int]:
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
            f"{remedy}"
        ) from None
    number = int(f"{sign}{charge or 1}") if sign else 0
    if number and number not in atom.ions:
        raise ValueError(f"{label!r} is no ion of {symbol}: known charges are {atom.ions}")
    return atom, number
