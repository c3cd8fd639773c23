"""What a potential makes of a structure."""

from __future__ import annotations

from dataclasses import dataclass

from pdfcalc.crystals.structure import AtomicStructure


@dataclass(frozen=True, eq=False)
class RelaxedStructure:
    """The nearest state of least energy, cell included.

    Args:
        energy: of the cell, eV.
        force: largest component that is left on an atom, eV/A.
        steps: of minimisation.
        has_converged: whether no more is left than the potential allows for.
    """

    structure: AtomicStructure
    energy: float
    force: float
    steps: int
    has_converged: bool
