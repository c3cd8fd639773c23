"""The elements of hosts and impurities, with what is needed to place and blur their atoms.

`data/elements.csv` has one row a metal, each number with its source. It holds the alkali, alkaline
earth and transition metals, Al, Ga, In, Tl, Sn, Pb, Zn, Cd, Hg, the lanthanides and the actinides
to Am. Sb and Bi are in it although they are semimetals at ambient pressure: both become metals
under pressure, in the composite structures of group 140. As, Ge and Te are left out.

A Debye temperature of kind "b_factor" reproduces a published Debye-Waller factor at 280 K (column
`b_280`, A^2), which is what a displacement needs. One of kind "calorimetric" is a low-temperature
limit and understates the displacement at room temperature: by 18 % in the median of the 33 metals
that have both, by 57 % in the worst, Zn. The tables of H. X. Gao and L.-M. Peng, Acta Cryst. A55
(1999) 926, DOI 10.1107/S0108767399005176, add nothing to that: in them such metals, but for Gd and
Dy, have the same displacements. "estimated" marks the two without a measurement (Pm, Ac).

Hydrogen, carbon, nitrogen and oxygen, which sit between the atoms of metals, have no such row:
`LIGHT`.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib.resources import files
from math import inf, tanh

import numpy as np

HBAR = 1.054571817e-34
BOLTZMANN = 1.380649e-23
DALTON = 1.66053906892e-27
ELECTRON_VOLT = 1.602176634e-19

ROOM_TEMPERATURE = 300.0
"""K; crystals are taken to have it of which no other temperature is reported."""


_LIGHT = {"H": (1, 1.008), "C": (6, 12.011), "N": (7, 14.007), "O": (8, 15.999)}
"""Atomic number, and mass in Da as IUPAC abridges it (T. Prohaska et al., Pure Appl. Chem. 94
(2022) 573, DOI 10.1515/pac-2019-0603)."""
LIGHT = tuple(_LIGHT)
"""Elements that are impurities between the atoms of metals, never hosts nor on their sites."""


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, str]]:
    text = files("defectgen.hosts").joinpath("data", "elements.csv").read_text(encoding="utf-8")
    return {row["element"]: row for row in csv.DictReader(text.splitlines())}


def _row(element: str) -> dict[str, str]:
    try:
        return _table()[element]
    except KeyError:
        known = ", ".join(metals())
        raise ValueError(f"{element!r} is not one of the metals known here: {known}") from None


@lru_cache(maxsize=1)
def metals() -> tuple[str, ...]:
    """Symbols of all metals usable as host or impurity, by atomic number."""
    return tuple(sorted(_table(), key=lambda element: int(_table()[element]["atomic_number"])))


def atomic_number(element: str) -> int:
    """Atomic number. Raises ValueError for anything that is neither in `metals()` nor `LIGHT`."""
    return _LIGHT[element][0] if element in _LIGHT else int(_row(element)["atomic_number"])


def atomic_volume(element: str) -> float:
    """Volume per atom (A^3) in a published cell at, or nearest to, ambient conditions."""
    return float(_row(element)["atomic_volume"])


def debye_temperature(element: str) -> float:
    """Debye temperature in K; `data/elements.csv` gives the kind and the source of each."""
    return float(_row(element)["debye_temperature"])


def debye_kind(element: str) -> str:
    """What its Debye temperature is from: b_factor, calorimetric or estimated."""
    return _row(element)["debye_kind"]


@lru_cache(maxsize=1)
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(32)


def _debye_integral(x: float) -> float:
    """Phi(x) = (1/x) * integral of t / (exp(t) - 1) from 0 to x."""
    # Beyond 40 the integrand is below 1e-15, so that the nodes stay where it is not.
    upper = min(x, 40.0)
    nodes, weights = _quadrature()
    t = 0.5 * upper * (nodes + 1.0)
    return float(0.5 * upper * np.sum(weights * t / np.expm1(t)) / x)


@lru_cache(maxsize=4096)
def debye_uiso(element: str, temperature: float = ROOM_TEMPERATURE) -> float:
    """Mean square displacement U (A^2) along one direction, at `temperature` in K.

    Debye model, with theta the Debye temperature, M the atomic mass and zero-point motion included:
    U = 3 hbar^2 T / (M k theta^2) * (Phi(theta / T) + theta / (4 T)).
    B. E. Warren, X-ray Diffraction (1969), sect. 11.3; B. T. M. Willis and A. W. Pryor, Thermal
    Vibrations in Crystallography (1975), sect. 4.

    Raises ValueError for an unknown metal or a temperature that is negative or not finite.
    """
    return _debye_uiso(debye_temperature(element), _mass(element), temperature)


@lru_cache(maxsize=65536)
def debye_ratio(host: str, impurity: str, temperature: float) -> float:
    """Uiso of a foreign atom over that of the host's, if springs of the same strength hold both.

    The ratio of `debye_uiso` for the host's Debye temperature and for one that goes with the root
    of the inverse mass: 1 at high temperatures, the root of the inverse ratio of masses at 0 K, as
    for an isotopic impurity (P. G. Dawber and R. J. Elliott, Proc. R. Soc. Lond. A 273 (1963) 222,
    DOI 10.1098/rspa.1963.0085, but for its local modes).
    """
    theta, masses = debye_temperature(host), (_mass(host), _mass(impurity))
    own = _debye_uiso(theta, masses[0], temperature)
    return _debye_uiso(theta * (masses[0] / masses[1]) ** 0.5, masses[1], temperature) / own


def oscillator_uiso(element: str, energy: float, temperature: float) -> float:
    """Mean square displacement U (A^2) of a light atom by one local mode, along that mode.

    U = hbar^2 / (2 M E) * coth(E / (2 k T)), of a harmonic oscillator of mass M (B. T. M. Willis
    and A. W. Pryor, Thermal Vibrations in Crystallography (1975), sect. 4).

    Args:
        element: of `LIGHT`.
        energy: E of the mode, meV.
        temperature: K, above 0.
    """
    quantum = 1e-3 * ELECTRON_VOLT * energy
    at_rest = 1e20 * HBAR**2 / (2 * _LIGHT[element][1] * DALTON * quantum)
    return at_rest / tanh(quantum / (2 * BOLTZMANN * temperature))


def _mass(element: str) -> float:
    return float(_row(element)["mass"])


def _debye_uiso(theta: float, mass: float, temperature: float) -> float:
    if not 0 <= temperature < inf:
        raise ValueError(f"temperature must be finite and not negative, got {temperature} K")
    scale = 3e20 * HBAR**2 / (mass * DALTON * BOLTZMANN * theta)
    if temperature == 0:
        return scale / 4
    ratio = theta / temperature
    return scale * (_debye_integral(ratio) / ratio + 0.25)
