"""From a store's address to the store."""

import os
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.infra.settings import settings
from app.infra.storage.contract import ObjectStore
from app.infra.storage.errors import BadStoreUrl
from app.infra.storage.local import LocalStore


def s3_endpoint() -> str | None:
    """Return where S3 is: ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL``, or None for AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def open_store(url: str, *, staging: Path | None = None) -> ObjectStore:
    """Open the store at ``file:///folder`` or ``s3://bucket/prefix``.

    Args:
        url: The store's address.
        staging: Local folder for temporary downloads of a store that is elsewhere; None is the
            one of the settings.

    Raises:
        BadStoreUrl: The address names no store.
    """
    parts = urlsplit(url)
    plain = not (parts.query or parts.fragment)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path and plain:
        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc and plain:
        return _open_s3(
            parts.netloc, parts.path, staging or settings().staging_folder, s3_endpoint()
        )
    raise BadStoreUrl


@lru_cache(maxsize=8)
def _open_s3(bucket: str, prefix: str, staging: Path, endpoint: str | None) -> ObjectStore:
    """Make a client, which takes a third of a second, once; it may be shared by threads."""
    from app.infra.storage.s3 import S3Store

    return S3Store(bucket, prefix, staging, endpoint=endpoint)
