"""Pair distribution functions of structures."""
