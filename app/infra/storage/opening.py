"""From a store's address to the store."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.infra.storage.contract import ObjectStore
from app.infra.storage.errors import BadStoreUrl
from app.infra.storage.local import LocalStore


def s3_endpoint() -> str | None:
    """Return where S3 is: ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL``, or None for AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def open_store(url: str, *, staging: Path) -> ObjectStore:
    """Open the store at ``file:///folder`` or ``s3://bucket/prefix``.

    Args:
        url: The store's address.
        staging: Local folder for temporary downloads of a store that is elsewhere.

    Raises:
        BadStoreUrl: The address names no store.
    """
    parts = urlsplit(url)
    plain = not (parts.query or parts.fragment)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path and plain:
        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc and plain:
        from app.infra.storage.s3 import S3Store

        return S3Store(parts.netloc, parts.path, staging, endpoint=s3_endpoint())
    raise BadStoreUrl
