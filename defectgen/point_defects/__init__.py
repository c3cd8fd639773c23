"""Point defects: what to draw, and the draws, one by one or many at once."""
