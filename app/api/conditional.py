"""Entity tags and conditional requests (RFC 9110, sections 8.8.3 and 13).

A tag is ``"<id>.<row version>.<digest of the document>"``. A mutation guards the row: there
the last part is not compared, so that the progress of a job or the successor of a version,
which are shown in a document but kept elsewhere, do not make a client's tag stale.
"""

import hashlib
import re
from typing import Annotated

from fastapi import Depends, Header

from app.api.errors import BadRequest
from app.domain.base import Entity

TAG = re.compile(r'\s*(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*')
MAX_HEADER_CHARACTERS = 2000


def tags_in(header: str) -> list[str]:
    """Return the tags of an ``If-Match`` or ``If-None-Match`` header, unquoted.

    >>> tags_in('"a", W/"b"')
    ['a', 'b']

    Raises:
        BadRequest: It is not a list of entity tags.
    """
    tags = []
    for part in header.split(","):
        found = TAG.fullmatch(part)
        if found is None or len(header) > MAX_HEADER_CHARACTERS:
            raise BadRequest("not a list of entity tags", code="malformed-etag")
        tags.append(found[1])
    return tags


def tag_of(entity: Entity, body: bytes) -> str:
    """Return the strong tag of an entity's document."""
    return f'{entity.etag[:-1]}.{hashlib.sha256(body).hexdigest()[:16]}"'


async def if_match(
    header: Annotated[
        str | None,
        Header(alias="If-Match", description="Act only if the resource still has this tag."),
    ] = None,
) -> str | None:
    """Return ``If-Match`` as the domain compares it: quoted, without the document's part.

    Raises:
        BadRequest: It is not one entity tag.
    """
    if header is None or header.strip() == "*":
        return None
    tags = [".".join(tag.split(".")[:2]) for tag in tags_in(header)]
    if len(tags) != 1:
        raise BadRequest("one entity tag is expected", code="malformed-etag")
    return f'"{tags[0]}"'


IfMatch = Annotated[str | None, Depends(if_match)]
"""The caller's ``If-Match``, ready for ``Entity.require_etag``; None when there is none."""

IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="Answer 304 if nothing has changed.")
]


def is_held(if_none_match: str, tag: str) -> bool:
    """Tell whether the caller holds this representation already."""
    return if_none_match.strip() == "*" or tag.strip('"') in tags_in(if_none_match)
