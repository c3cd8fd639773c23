"""The fit, from a store to a run directory."""
