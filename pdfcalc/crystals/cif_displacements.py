"""The displacements of atoms in a CIF file: isotropic or tensors, as U, B or beta."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pdfcalc.crystals.cif_tags import Tags, column, number

UISO_RANGE = (1e-4, 0.5)
"""A^2; displacements outside are taken for absent. Zero-point motion exceeds the lower end."""

ANISOTROPY = 0.01
"""Part of Uiso by which a tensor must differ from it to be called anisotropic, not rounded."""

_B_TO_U = 1 / (8 * math.pi**2)
_BETA_TO_U = 1 / (2 * math.pi**2)
_ISOTROPIC = (("_atom_site_U_iso_or_equiv", 1.0), ("_atom_site_B_iso_or_equiv", _B_TO_U))


class Displacement(NamedTuple):
    """Of one atom."""

    uiso: float | None
    """A^2; None where the file gives none that is usable"""
    anisotropic: bool
    """whether the file's tensor, of which `uiso` may be the mean, differs from a sphere"""
    left_out: float | None
    """A^2, what the file gives and no atom of a crystal can have"""


def displacements(tags: Tags, lattice: np.ndarray, labels: list[str | None]) -> list[Displacement]:
    """Of each listed atom, from the first usable of U, B and tensors."""
    tensors = _tensors(tags, lattice)
    seen: dict[str, int] = defaultdict(int)
    found = []
    for i, written in enumerate(labels):
        label = written or ""
        candidates = []
        for tag, scale in _ISOTROPIC:
            values = column(tags, tag)
            value = number(values[i], f"{tag} of {label}") if values else None
            candidates += [] if value is None else [value * scale]
        own = tensors.get(label, [])
        if own:
            if len(own) not in (1, labels.count(written)):
                raise ValueError(f"{label!r} has {len(own)} displacement tensors: give it one")
            candidates.append(float(np.trace(own[seen[label] % len(own)])) / 3)
            seen[label] += 1
        low, high = UISO_RANGE
        usable = [u for u in candidates if low <= u <= high]
        found.append(
            Displacement(
                usable[0] if usable else None,
                any(map(is_anisotropic, own)),
                candidates[0] if candidates and not usable else None,
            )
        )
    return found


def is_anisotropic(tensor: np.ndarray) -> bool:
    """Whether a Cartesian displacement tensor (3, 3) is more than a rounded sphere."""
    mean = np.trace(tensor) / 3
    return bool(np.abs(tensor - mean * np.eye(3)).max() > ANISOTROPY * abs(mean))


def note_on_anisotropy(labels: Sequence[str]) -> str:
    """What is said of atoms of which only the mean displacement is used."""
    return f"anisotropic displacements of {first_of(labels)} are reduced to their mean"


def first_of(labels: Sequence[str]) -> str:
    """A few of the labels of atoms, for a message."""
    return ", ".join(labels[:5]) + ", ..." * (len(labels) > 5)


def _tensors(tags: Tags, lattice: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Cartesian displacement tensors (3, 3) by label, A^2; a third of the trace is U_eq.

    Fischer & Tillmanns (1988), Acta Cryst. C44, 775, https://doi.org/10.1107/S0108270187012745.
    """
    reciprocal = np.linalg.norm(np.linalg.inv(lattice), axis=0)
    of_u = reciprocal[:, None] * lattice
    result = defaultdict(list)
    # beta_ij = 2 pi^2 a*_i a*_j U_ij.
    kinds = (("u", 1.0, of_u), ("b", _B_TO_U, of_u), ("beta", _BETA_TO_U, lattice))
    for kind, scale, to_cartesian in kinds:
        names = [f"_atom_site_aniso_{kind}_{ij}" for ij in ("11", "22", "33", "12", "13", "23")]
        columns = [column(tags, name) for name in ("_atom_site_aniso_label", *names)]
        if all(columns) and len(set(map(len, columns))) > 1:
            raise ValueError(f"{names[0]} and its fellows are not as many as their labels")
        rows = zip(*columns, strict=True) if all(columns) else ()
        for label, *components in rows:
            values = [number(v, f"{n} of {label}") for v, n in zip(components, names, strict=True)]
            if label is not None and None not in values:
                xx, yy, zz, xy, xz, yz = values
                tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
                result[label].append(to_cartesian.T @ tensor @ to_cartesian * scale)
    return result
