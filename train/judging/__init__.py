"""Scores, calibration, strangeness, explanations and baselines."""
