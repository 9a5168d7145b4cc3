"""Lethe: take data out of trained models and prove what was done."""
