"""The routes, one file per resource; each has a file of the same name in `schemas`."""
