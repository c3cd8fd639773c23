"""Where atoms go around point defects, by the harmonic response of the crystal to their pushes."""
