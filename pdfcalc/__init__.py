"""Atoms in, pair distribution function out."""

from pdfcalc.crystals.inputs import as_structure
from pdfcalc.crystals.structure import AtomicStructure
from pdfcalc.measured.gr_files import GrFile, read_gr, write_gr
from pdfcalc.measured.gr_headers import GrHeader
from pdfcalc.measured.refinement import Refinement, measured_parameters, refine_host
from pdfcalc.pdf.calculate import calculate_pdf
from pdfcalc.pdf.parameters import PDFParameters

__all__ = [
    "AtomicStructure",
    "GrFile",
    "GrHeader",
    "PDFParameters",
    "Refinement",
    "as_structure",
    "calculate_pdf",
    "measured_parameters",
    "read_gr",
    "refine_host",
    "write_gr",
]
