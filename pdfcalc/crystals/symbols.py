"""Which atom a symbol or a label means, whoever wrote it."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

NO_ATOMS = frozenset({"va", "vac", "vc", "vacancy", "x", "xx", "du", "dum", "dummy"})
"""What files call vacancies, dummies and centres, in lower case."""

_WATER = re.compile(r"(wat|wa|ow|hoh)([^a-z].*)?|(h2o|d2o|oh2).*", re.IGNORECASE)
"""Labels of the oxygen of water in mineralogical files."""
_SEVERAL = re.compile(r"\s*[/,&]\s*[A-Z]")
_SITES = frozenset({"T"})
"""Labels of tetrahedral sites more often than of tritium."""
_SYMBOL = re.compile(r"(?:\((\d{1,3})\)|(\d{1,3})-?)?([A-Za-z]+)([^A-Za-z].*)?")
_HEAVIEST = 98
"""Atomic number of which crystals are known; NO3 and NH4 are not of heavier ones."""
_MASS_ERROR = 0.04
"""u, by which tables of atomic masses differ."""
_HYDROGEN = {1: "H", 2: "D", 3: "T"}


def read_symbol(text: str, formula: Collection[str] = ()) -> str | None:
    """The atom that a type symbol means, as `pdfcalc.AtomicStructure` has it; None for no atom.

    It is an element (Cu, CU), or an isotope (58Ni, (2)H, D), followed by digits, a charge or a
    suffix (Cu1, Fe3+, Na1+, Ni_a). Charges are left out: they are formal, and the electrons of an
    atom in a crystal are near to the neutral one's.

    Args:
        formula: elements of the crystal, which tell CA of carbon from CA of calcium.

    Raises:
        ValueError: it is none of these.
    """
    match = _SYMBOL.fullmatch(text.strip())
    letters = match[3] if match else ""
    if letters.lower() in NO_ATOMS and letters not in formula:
        return None
    if _WATER.fullmatch(text.strip()):
        return "O"
    candidates = [c for c in _candidates(letters) if c in _elements()]
    element = next((c for c in candidates if c in formula), *candidates[:1] or [""])
    if not match or not element:
        raise ValueError(f"no element is called {text[:40]!r}")
    if _SEVERAL.match(match[4] or ""):
        raise ValueError(f"{text[:40]!r} names several elements: give each a row of its own")
    isotope = int(match[1] or match[2] or 0)
    if not isotope:
        return element
    if element == "H" and isotope in _HYDROGEN:
        return _HYDROGEN[isotope]
    if not _is_isotope(element, isotope):
        raise ValueError(f"{text[:40]!r}: {element} has no isotope {isotope}")
    return f"{isotope}-{element}"


def read_label(text: str, formula: Collection[str] = ()) -> str | None:
    """As of `read_symbol`, of the label of a site that has no type symbol."""
    atom = read_symbol(text, formula)
    known = {*formula, *map(element_of, formula)}
    if (atom in _SITES and atom not in known) or (atom and known and element_of(atom) not in known):
        raise ValueError(f"{text[:40]!r} does not tell which element it is: add a type symbol")
    return atom


def element_of(atom: str) -> str:
    """The element of an atom of `read_symbol`, which an isotope scatters X-rays as."""
    symbol = atom.rpartition("-")[2]
    return "H" if symbol in _HYDROGEN.values() else symbol


def isotope_of_mass(element: str, mass: float) -> str:
    """The isotope, for `read_symbol`, of which an atom of an element has the mass, in u.

    The element itself where the mass is the natural one, or that of no isotope, as in molecular
    dynamics with heavy hydrogen.
    """
    import periodictable

    if element not in _elements():
        return element
    atom = periodictable.elements.symbol(element)
    if abs(mass - atom.mass) < _MASS_ERROR:
        return element
    known = [n for n in atom.isotopes if atom[n].abundance or (element == "H" and n in _HYDROGEN)]
    isotopes = (n for n in known if abs(atom[n].mass - mass) < _MASS_ERROR)
    return f"{next(isotopes, '')}{element}"


def _candidates(letters: str) -> list[str]:
    """Elements that letters may begin with: what follows one must not look like part of it."""
    whole = letters.capitalize()
    if len(letters) <= 2:
        second = [letters[0].upper()] if len(letters) == 2 and letters[1].isupper() else []
        return [whole, *second]
    if letters.lower().endswith("val"):  # valence form factors, Cval
        return [letters[:-3].capitalize()]
    two = [letters[:2].capitalize()] if letters[2].isupper() else []
    return two + ([letters[0].upper()] if letters[1].isupper() else [])


@lru_cache(maxsize=1)
def _elements() -> frozenset[str]:
    import periodictable

    known = (e.symbol for e in periodictable.elements if 0 < e.number <= _HEAVIEST)
    return frozenset({"D", "T", *known})


def _is_isotope(symbol: str, number: int) -> bool:
    import periodictable

    return number in periodictable.elements.symbol(symbol).isotopes
