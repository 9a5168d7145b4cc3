"""Downloads: a range of a stored file, streamed, with its tag and digest (RFC 9110, RFC 9530)."""

import base64
import re

from fastapi import Response
from fastapi.responses import StreamingResponse

from app.api.conditional import is_held
from app.api.errors import RangeNotSatisfiable
from app.api.uploads import store
from app.domain.catalog import Version
from app.domain.errors import Gone
from app.infra.storage import ObjectMissing

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the one range of bytes asked for, end exclusive; None for the whole file.

    Several ranges, other units and what is malformed are answered with the whole file, as
    RFC 9110 section 14.2 allows.

    >>> asked_range("bytes=0-3", 10), asked_range("bytes=-4", 10), asked_range("bytes=8-99", 10)
    ((0, 4), (6, 10), (8, 10))

    Raises:
        RangeNotSatisfiable: It begins behind the end, or asks for the last 0 bytes.
    """
    found = RANGE.fullmatch(header.strip()) if header else None
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        start, end = max(size - int(found[2]), 0), size
    else:
        start, end = int(found[1]), min(int(found[2] or size) + 1, size)
        if found[2] and int(found[2]) < start:
            return None
    if start >= end:
        raise RangeNotSatisfiable(size=size)
    return start, end


def headers_of(version: Version) -> dict[str, str]:
    """Return the headers that describe the file, whatever part of it is sent."""
    digest = version.digest or ""
    raw = bytes.fromhex(digest.removeprefix("sha256:"))
    headers = {
        "ETag": f'"{digest}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(raw).decode()}:",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{version.id}.safetensors"',
    }
    if version.state == "tainted":
        headers["Lethe-Tainted"] = "true"
    return headers


def not_modified(version: Version, if_none_match: str | None) -> Response | None:
    """Return 304 when the caller holds this file already."""
    headers = headers_of(version)
    if if_none_match is None or not is_held(if_none_match, headers["ETag"]):
        return None
    return Response(status_code=304, headers=headers)


def wanted_range(
    version: Version, range_header: str | None, if_range: str | None
) -> tuple[int, int] | None:
    """Return the range to send, None for all: an ``If-Range`` that is not ours ignores it.

    Raises:
        RangeNotSatisfiable: It lies outside the file.
    """
    tag = f"{version.digest}"
    if if_range is not None and tag not in if_range:
        return None
    return asked_range(range_header, version.size or 0)


def send(version: Version, part: tuple[int, int] | None) -> Response:
    """Open the file and stream it.

    Raises:
        Gone: It was destroyed a moment ago.
    """
    size = version.size or 0
    start, end = part or (0, size)
    try:
        pieces = store().open_range(version.weights_key or "", start, end)
    except ObjectMissing:
        raise Gone from None
    headers = headers_of(version) | {"Content-Length": str(end - start)}
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status = 200 if part is None else 206
    return StreamingResponse(pieces, status, headers, "application/octet-stream")
