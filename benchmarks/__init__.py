"""Measurements, one file for each claim; started as modules from the repository's root."""
