"""X-ray powder patterns: reflections of a lattice, structure factors, lines and their profile."""
