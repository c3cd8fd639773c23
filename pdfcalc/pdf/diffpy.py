"""The diffpy engine: diffpy.srreal itself, where it is installed."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.pdf.transform import pdf_from_peaks


def diffpy_pdf(
    structure: AtomicStructure,
    parameters: PDFParameters,
    pair: tuple[str, str] | None,
    density: float,
) -> np.ndarray:
    """G(r) by PDFCalculator, (n_r,) on `parameters.r`, 1/A^2.

    Args:
        pair: the two elements whose pairs count; None for all.
        density: atoms per A^3, of which the baseline of a pair is made.

    Raises:
        ImportError: diffpy.srreal is not installed.
    """
    calculator = diffpy_calculator(parameters)
    if pair is not None:
        calculator.maskAllPairs(False)
        calculator.setTypeMask(_label(pair[0]), _label(pair[1]), True)
        calculator.baseline = "zero"
    _, g = calculator(diffpy_structure(structure))
    if pair is None:
        return np.asarray(g)
    nothing = np.zeros((1, parameters.extended_grid.size))
    return np.asarray(g) + pdf_from_peaks(nothing, np.array([density]), parameters)[0]


def diffpy_calculator(parameters: PDFParameters) -> Any:
    """The PDFCalculator that computes what our engines do.

    Raises:
        ImportError: diffpy.srreal is not installed.
        ValueError: it doesn't know the form factors.
    """
    if parameters.form_factors != "constant":
        raise ValueError(
            f"form_factors = {parameters.form_factors!r}: engine 'diffpy' takes them at Q = 0 "
            "only: use engine 'lattice' or 'pairs'"
        )
    try:
        from diffpy.srreal.pdfcalculator import PDFCalculator
    except ImportError as error:
        raise ImportError(
            f"engine diffpy needs diffpy.srreal ({error}), which conda-forge has: "
            "create the environment of environment.yml"
        ) from None
    calculator = PDFCalculator(
        rmin=parameters.rmin,
        rmax=parameters.rmax,
        rstep=parameters.rstep,
        qmin=parameters.qmin,
        qmax=parameters.qmax or 0.0,
        qdamp=parameters.qdamp,
        qbroad=parameters.qbroad,
        delta1=parameters.delta1,
        delta2=parameters.delta2,
        scale=parameters.scale,
    )
    for envelope, name in (("sphericalshape", "spdiameter"), ("stepcut", "stepcut")):
        if getattr(parameters, name) is not None:
            calculator.addEnvelope(envelope)
            setattr(calculator, name, getattr(parameters, name))
    calculator.setScatteringFactorTableByType("X" if parameters.scattering == "xray" else "N")
    for label, length in dict(parameters.scattering_lengths or ()).items():
        calculator.scatteringfactortable.setCustomAs(_label(label), "Ni", length)
    return calculator


def diffpy_structure(structure: AtomicStructure) -> Any:
    """The atoms as a Structure of diffpy.structure."""
    from diffpy.structure import Atom, Lattice, Structure

    # PDFCalculator takes a unit cube for the absence of a lattice.
    lattice = structure.lattice if structure.periodic else np.eye(3)
    positions = structure.frac @ structure.lattice @ np.linalg.inv(lattice)
    atoms = [
        Atom(_label(element), xyz=xyz, Uisoequiv=uiso, occupancy=occupancy)
        for element, xyz, uiso, occupancy in zip(
            structure.elements, positions, structure.uiso, structure.occupancy, strict=True
        )
    ]
    return Structure(atoms, lattice=Lattice(base=lattice))


def _label(element: str) -> str:
    """The label as diffpy.srreal writes it: isotopes with a hyphen."""
    return re.sub(r"^(\d+)(?=[A-Z])", r"\1-", element)
