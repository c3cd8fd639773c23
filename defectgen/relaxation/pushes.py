"""The forces with which point defects push their neighbours."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from defectgen.relaxation.springs import VOIGT
from defectgen.relaxation.statics import Push, Statics

_RANGE = 0.12
"""Over which a push falls to 1/e, in distances of nearest neighbours."""
_REACH = 1.3
"""Farthest that an interstitial pushes, in the same."""
_FEWEST = 8
"""Neighbours that a defect on a site pushes at least, with those about as far as the last."""
AS_FAR = 1.03
"""Atoms whose distances differ by less are as near."""
HALF_DUMBBELL = 0.42
"""Distance of a dumbbell's atoms from its site, in the same: 0.30 a along <100> in fcc and 0.26 a
along each axis of <110> in bcc metals, as embedded-atom potentials have them
(`defectgen.relaxation.potential`)."""
_FARTHEST = 0.25
"""Farthest that one defect may push an atom, in the same, as an octahedral interstitial does in
iron (0.17 in copper). Where it would be farther, as in open structures and soft metals, the defect
needs less room than its volume says."""
_STEPS, _STEP = 12, 0.5
"""Rounds until pushes and the places of the pushed atoms agree, and how far each goes."""


@lru_cache(maxsize=256)
def push_from_site(site: int, contraction: float | None, statics: Statics) -> Push:
    """Of a defect on an atom's site, on its nearest neighbours and perhaps the next ones.

    Args:
        contraction: by how much the nearest come nearer or go farther, as a part of their distance
            and for one atomic volume; None if none but these are pushed.
    """
    bonds = statics.bonds
    own = bonds.first == site
    near = own & (bonds.length < AS_FAR * np.sort(bonds.length[own])[:_FEWEST][-1])
    farther = own & ~near
    if contraction is None or not farther.any():
        return _radial(near, statics)
    first, second = (
        _radial(chosen, statics)
        for chosen in (near, farther & (bonds.shell == bonds.shell[farther].min()))
    )
    vectors = bonds.vector[near]
    by_first, by_second = (
        (statics.of_one(push, bonds.cell[near], bonds.second[near], vectors) * vectors).sum()
        / (vectors**2).sum()
        for push in (first, second)
    )
    share = (contraction - by_second) / (by_first - by_second)
    return Push(
        np.concatenate([first.cell, second.cell]),
        np.concatenate([first.atom, second.atom]),
        np.concatenate([share * first.force, (1 - share) * second.force]),
        share * first.dipole + (1 - share) * second.dipole,
        first.most,
    )


def _radial(chosen: np.ndarray, statics: Statics) -> Push:
    """Of equal forces along some of the bonds."""
    bonds = statics.bonds
    force = bonds.vector[chosen] / bonds.length[chosen, None]
    force -= force.mean(axis=0)
    places = bonds.cell[chosen], bonds.second[chosen]
    push = _push(*places, force, bonds.vector[chosen], statics)
    return replace(push, most=_most(statics.of_one(push, *places, bonds.vector[chosen])))


def _push(
    cell: np.ndarray, atom: np.ndarray, force: np.ndarray, at: np.ndarray, statics: Statics
) -> Push:
    """Forces on atoms at (M, 3) from the defect, made to fit one atomic volume."""
    of_cell = np.zeros(statics.bonds.frac.shape)
    np.add.at(of_cell, atom, force)
    moment = force.T @ at
    dipole = np.array([(moment[i, j] + moment[j, i]) / 2 for i, j in VOIGT])
    size = 1 / statics.volume(of_cell, dipole)
    return Push(cell, atom, size * force, size * dipole, math.inf)


def push_around(centre: np.ndarray, split: np.ndarray, volume: float, statics: Statics) -> Push:
    """Of an atom between others, or of two that share a site, to both sides of it.

    Forces fall exponentially with the distance, as the repulsion of ions does (M. Born and
    J. E. Mayer, Z. Phys. 75 (1932) 1); their size follows from the volume. Distances are those to
    where the forces have moved the atoms, so that the nearest are not pushed for all others.

    Args:
        centre: (3,) fractional.
        split: (3,) from the centre to one of two atoms, in distances of nearest neighbours; zero if
            there is one.
        volume: atomic volumes, at which the atoms have moved.
    """
    bonds = statics.bonds
    heights = 1 / np.linalg.norm(np.linalg.inv(bonds.lattice), axis=0)
    most = np.ceil((_REACH + HALF_DUMBBELL) / heights).astype(int) + 1
    cells = np.indices(2 * most + 1).reshape(3, -1).T - most
    vectors = (bonds.frac + cells[:, None] - centre) @ bonds.lattice
    # An atom at the place itself is the one that is replaced, or shares it.
    others = np.linalg.norm(vectors, axis=-1) > 1e-3
    nearest = np.minimum(*(np.linalg.norm(vectors - end, axis=-1) for end in (split, -split)))
    cell, atom = np.nonzero(others & (nearest < _REACH))
    at_rest, cell = vectors[cell, atom], cells[cell]
    moved = np.zeros_like(at_rest)
    for _ in range(_STEPS):
        force = _forces(at_rest + moved, split)
        push = _push(cell, atom, force, at_rest, statics)
        to = statics.of_one(push, cell, atom, at_rest)
        most = _most(to)
        moved += _STEP * (min(volume, most) * to - moved)
    return replace(push, most=most)


def _most(moved: np.ndarray) -> float:
    """Atomic volumes that a defect may take which moves atoms by (M, 3) for one."""
    return _FARTHEST / float(np.linalg.norm(moved, axis=1).max())


def _forces(away: np.ndarray, split: np.ndarray) -> np.ndarray:
    """(M, 3) of atoms at both ends of `split` on those at (M, 3), without a sum."""
    force = np.zeros_like(away)
    for end in (split, -split):
        vector = away - end
        length = np.linalg.norm(vector, axis=1)
        force += (np.exp((1 - length) / _RANGE) / length)[:, None] * vector
    return force - force.mean(axis=0)
