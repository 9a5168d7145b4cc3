"""The HTTP edge: parses, knows the caller, calls one action or query, writes the answer."""
