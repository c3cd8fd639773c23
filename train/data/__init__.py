"""A store as examples to learn from: reading, splits, leaks, order."""
