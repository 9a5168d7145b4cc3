"""Doors to the outside: database, object store, row files, queue, keys, settings."""
