"""Numerics of unlearning: curvature, solvers, selections, methods and measurements.

A pure library on torch alone: it opens no file, no socket and no database, and imports nothing
else of this project. Import what you need from its modules; nothing is imported here, so that
reading one error class does not load every method.
"""
