"""Verbs: the only code that writes state. One file per act."""
