"""The diffpy engine: diffpy.srreal itself, where it is installed."""

from __future__ import annotations

import numpy as np

from pdfcalc.parameters import PDFParameters
from pdfcalc.structure import AtomicStructure


def diffpy_pdf(structure: AtomicStructure, parameters: PDFParameters) -> np.ndarray:
    """G(r) by PDFCalculator, (n_r,) on `parameters.r`, 1/A^2.

    Raises:
        ImportError: diffpy.srreal is not installed.
    """
    try:
        from diffpy.srreal.pdfcalculator import PDFCalculator
        from diffpy.structure import Atom, Lattice, Structure
    except ImportError as error:
        raise ImportError(
            f"engine diffpy needs diffpy.srreal ({error}), which conda-forge has: "
            "create the environment of environment.yml"
        ) from None
    atoms = [
        Atom(str(element), xyz=xyz, Uisoequiv=uiso, occupancy=occupancy)
        for element, xyz, uiso, occupancy in zip(
            structure.elements, structure.frac, structure.uiso, structure.occupancy, strict=True
        )
    ]
    calculator = PDFCalculator(
        rmin=parameters.rmin,
        rmax=parameters.rmax,
        rstep=parameters.rstep,
        qmin=parameters.qmin,
        qmax=parameters.qmax or 0.0,
        qdamp=parameters.qdamp,
        qbroad=parameters.qbroad,
    )
    calculator.setScatteringFactorTableByType("X" if parameters.scattering == "xray" else "N")
    _, g = calculator(Structure(atoms, lattice=Lattice(base=structure.lattice)))
    return np.asarray(g)
