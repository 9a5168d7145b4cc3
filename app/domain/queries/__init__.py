"""Reads: what the service knows, without changing any of it."""
