"""What is done to samples before they are observed: one file a stage, found by its name.

`defectgen.samples.Stage` says what a stage is.
"""
