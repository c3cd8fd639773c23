"""Atoms in, what an experiment sees of them out."""

from pdfcalc.crystals.inputs import as_structure
from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.measured.gr_files import GrFile, read_gr, write_gr
from pdfcalc.measured.gr_headers import GrHeader
from pdfcalc.measured.refinement import Refinement, measured_parameters, refine_host
from pdfcalc.pdf.calculate import calculate_pdf
from pdfcalc.pdf.parameters import PDFParameters
from pdfcalc.powder.parameters import PowderParameters
from pdfcalc.powder.pattern import calculate_powder_pattern, powder_lines

__all__ = [
    "AtomicStructure",
    "GrFile",
    "GrHeader",
    "PDFParameters",
    "PowderParameters",
    "Refinement",
    "as_structure",
    "calculate_pdf",
    "calculate_powder_pattern",
    "measured_parameters",
    "powder_lines",
    "read_gr",
    "refine_host",
    "write_gr",
]
