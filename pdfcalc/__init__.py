"""Atoms in, pair distribution function out."""

from pdfcalc.calculate import calculate_pdf
from pdfcalc.parameters import PDFParameters
from pdfcalc.structure import AtomicStructure

__all__ = ["AtomicStructure", "PDFParameters", "calculate_pdf"]
