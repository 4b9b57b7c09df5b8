"""Measurements, each with its competitor in the same run and reported as a ratio."""
