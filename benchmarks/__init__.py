"""What the toolkit costs, measured: python -m benchmarks.lattice, and so on (see README.md)."""

import os

# One core for each process, as in a run; numpy and torch look at this when they are imported.
os.environ["OMP_NUM_THREADS"] = "1"
