"""Which items there are and which samples of each: one file a source, found by its name.

`defectgen.samples.Source` says what a source is.
"""
