"""Atoms in, pair distribution function out."""

from pdfcalc.calculate import calculate_pdf
from pdfcalc.gr_files import GrFile, read_gr, write_gr
from pdfcalc.gr_headers import GrHeader
from pdfcalc.inputs import as_structure
from pdfcalc.parameters import PDFParameters
from pdfcalc.structure import AtomicStructure

__all__ = [
    "AtomicStructure",
    "GrFile",
    "GrHeader",
    "PDFParameters",
    "as_structure",
    "calculate_pdf",
    "read_gr",
    "write_gr",
]
