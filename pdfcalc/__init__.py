"""Atoms in, pair distribution function out."""

from pdfcalc.calculate import calculate_pdf
from pdfcalc.gr_files import GrFile, read_gr, write_gr
from pdfcalc.gr_headers import GrHeader
from pdfcalc.inputs import as_structure
from pdfcalc.parameters import PDFParameters
from pdfcalc.refinement import Refinement, measured_parameters, refine_host
from pdfcalc.structure import AtomicStructure

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
