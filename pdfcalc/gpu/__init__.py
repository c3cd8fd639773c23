"""The engines in torch, for many structures at once; `lattice.pdfs` and `pairs.pdfs`."""
