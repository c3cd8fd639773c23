"""Elemental crystals that variants are made of: hosts, their libraries, their elements."""
