"""Uploads: a request's body streamed to the object store in bounded memory.

The store writes in a thread of its own and asks the event loop for the next piece when it is
ready for one, so that no more than one piece waits in memory and a slow disk slows the sender.
"""

import base64
import binascii
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Annotated

from anyio import CancelScope, CapacityLimiter, from_thread, to_thread
from fastapi import Header, Request
from starlette.requests import ClientDisconnect

from app.api.errors import BadRequest, DigestWrong
from app.domain.errors import TooLarge, UnsupportedFormat
from app.infra.settings import settings
from app.infra.storage import DigestMismatch, ObjectStore, Stored, open_store

PIECE_BYTES = 1 << 20
CONCURRENT_UPLOADS = 32
SHA256 = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:([A-Za-z0-9+/=]*):\s*(?:,|$)")

ReprDigest = Annotated[
    str | None,
    Header(alias="Repr-Digest", description="`sha-256=:<base64>:` (RFC 9530); checked if given."),
]
BINARY_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""What OpenAPI says of a body that FastAPI does not parse."""


@lru_cache(maxsize=1)
def store() -> ObjectStore:
    """Return the process's object store."""
    return open_store(settings().store_url, staging=settings().staging_folder)


@lru_cache(maxsize=1)
def _places() -> CapacityLimiter:
    return CapacityLimiter(CONCURRENT_UPLOADS)


def announced_sha256(header: str | None) -> str | None:
    """Return the hexadecimal SHA-256 of a ``Repr-Digest`` header; other algorithms are ignored.

    >>> announced_sha256("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:")[:8]
    'e3b0c442'

    Raises:
        BadRequest: Its SHA-256 is none.
    """
    if header is None:
        return None
    found = SHA256.search(header)
    if found is None and "sha-256" not in header:
        return None
    try:
        digest = base64.b64decode(found[1] if found else "!", validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != 32:
        raise BadRequest("Repr-Digest is not a SHA-256", code="malformed-digest")
    return digest.hex()


def announced_size(http_request: Request) -> int | None:
    """Return the ``Content-Length``, None for a chunked body.

    Raises:
        TooLarge: It is more than the service takes.
        BadRequest: The body is compressed.
    """
    if http_request.headers.get("content-encoding", "identity").lower() != "identity":
        raise BadRequest("the file itself is wanted, not compressed", code="compressed-upload")
    text = http_request.headers.get("content-length")
    limit = settings().max_upload_bytes
    if text is None or not text.isdecimal():
        return None
    if int(text) > limit:
        raise TooLarge(f"more than {limit} bytes", limit=limit)
    return int(text)


async def receive(
    http_request: Request,
    key: str,
    repr_digest: str | None,
    check_prefix: Callable[[bytes], None] | None = None,
    prefix_bytes: int = 0,
) -> Stored:
    """Store the body under a key; whatever goes wrong, nothing is left in the store.

    Args:
        http_request: Whose body it is.
        key: Where it goes.
        repr_digest: The header, if any.
        check_prefix: Called with the first ``prefix_bytes`` bytes, before any are stored.
        prefix_bytes: How many it wants to see.

    Returns:
        Size and digest of what was stored.

    Raises:
        DigestWrong: The bytes are not those announced.
        BadRequest: A header is malformed, or the client went away.
        TooLarge: There are more bytes than the service takes.
        UnsupportedFormat: The first bytes were refused.
    """
    expected_sha256 = announced_sha256(repr_digest)
    expected_size = announced_size(http_request)
    pieces = _pieces(http_request)

    def pull() -> Iterator[bytes]:
        while piece := from_thread.run(_next, pieces):
            yield piece

    def run() -> Stored:
        chunks = pull()
        if check_prefix is not None:
            chunks = _checked(chunks, check_prefix, prefix_bytes)
        return store().put_stream(
            key,
            chunks,
            limit=settings().max_upload_bytes,
            expected_size=expected_size,
            expected_sha256=expected_sha256,
        )

    try:
        return await to_thread.run_sync(run, limiter=_places())
    except UnsupportedFormat:
        await _hear_out(pieces)
        raise
    except ClientDisconnect:
        raise BadRequest("the body ended early", code="incomplete-body") from None
    except DigestMismatch:
        raise DigestWrong from None


@asynccontextmanager
async def destroyed_on_failure(key: str) -> AsyncIterator[None]:
    """Destroy a stored object when what was to refer to it could not be written."""
    try:
        yield
    except BaseException:
        with CancelScope(shield=True):
            await to_thread.run_sync(store().delete, key)
        raise


async def _pieces(http_request: Request) -> AsyncIterator[bytes]:
    """Join the network's small chunks to pieces worth a change of thread."""
    held: list[bytes] = []
    size = 0
    async for chunk in http_request.stream():
        held.append(chunk)
        size += len(chunk)
        if size >= PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


async def _hear_out(pieces: AsyncIterator[bytes]) -> None:
    """Let the rest of a refused body pass: one that never ends was not sent.

    Raises:
        BadRequest: The client went away.
        TooLarge: There are more bytes than the service takes.
    """
    limit, size = settings().max_upload_bytes, 0
    try:
        async for piece in pieces:
            size += len(piece)
            if size > limit:
                raise TooLarge(f"more than {limit} bytes", limit=limit)
    except ClientDisconnect:
        raise BadRequest("the body ended early", code="incomplete-body") from None


async def _next(pieces: AsyncIterator[bytes]) -> bytes:
    return await anext(pieces, b"")


def _checked(
    chunks: Iterator[bytes], check_prefix: Callable[[bytes], None], prefix_bytes: int
) -> Iterator[bytes]:
    prefix = b""
    for chunk in chunks:
        prefix += chunk
        if len(prefix) >= prefix_bytes:
            break
    check_prefix(prefix[:prefix_bytes])
    yield prefix
    yield from chunks
