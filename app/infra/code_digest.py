"""Which program this is: one digest over its files."""

from functools import lru_cache
from hashlib import file_digest, sha256
from pathlib import Path

from app.ledger.encoding import encode

FOLDERS = ("app", "workers")
SUFFIXES = (".py", ".json")


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return the SHA-256 of the canonical JSON ``{"<path>": "<SHA-256 of the file>"}``."""
    root = Path(__file__).parents[2]
    files = [
        path
        for folder in FOLDERS
        for path in (root / folder).rglob("*")
        if path.suffix in SUFFIXES and path.is_file()
    ]
    digests = {}
    for path in files:
        with path.open("rb") as file:
            name = path.relative_to(root).as_posix()
            digests[name] = file_digest(file, "sha256").hexdigest()
    return sha256(encode(digests)).hexdigest()
