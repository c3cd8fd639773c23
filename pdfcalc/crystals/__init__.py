"""Atoms in cells: structures, their sites, files of them, and how atoms scatter."""
