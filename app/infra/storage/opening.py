"""From a store's address to the store."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.infra.storage.contract import ObjectStore
from app.infra.storage.errors import BadStoreUrl
from app.infra.storage.local import LocalStore


def open_store(url: str, *, staging: Path) -> ObjectStore:
    """Open the store at ``file:///folder`` or ``s3://bucket/prefix``.

    For S3, the endpoint is ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL`` if set, AWS's otherwise.

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

        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return S3Store(parts.netloc, parts.path, staging, endpoint=endpoint)
    raise BadStoreUrl
