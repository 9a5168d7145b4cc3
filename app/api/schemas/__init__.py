"""The documents that travel: strict on the way in, exact on the way out."""
