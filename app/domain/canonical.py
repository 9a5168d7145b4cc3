"""Documents of ours as canonical JSON, so that a digest of one is a digest of all its copies."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from app.ledger.encoding import LARGEST_INTEGER, Json, encode
from app.ledger.entries import plain


def written(document: Mapping[str, Any]) -> dict[str, Json]:
    """Return a document as canonical JSON can say it: floats and huge integers as texts."""
    return {
        str(name): plain(_bounded(value)) for name, value in document.items() if value is not None
    }


def canonical_bytes(document: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of a document.

    Raises:
        MalformedJson: It is nested too deeply, or holds what JSON does not have.
    """
    return encode(written(document))


def digest_of_document(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document's canonical JSON, in hexadecimal."""
    return sha256(canonical_bytes(document)).hexdigest()


def _bounded(value: Any) -> Any:
    """Turn integers that a double does not hold exactly into texts."""
    if isinstance(value, Mapping):
        return {name: _bounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_bounded(item) for item in value]
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        return str(value)
    return value
