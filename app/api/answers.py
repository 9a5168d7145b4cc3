"""How documents become answers: JSON bytes straight from the schema, tags and lists."""

from collections.abc import Sequence

from fastapi import Response
from pydantic import BaseModel, SerializeAsAny

from app.api.conditional import is_held, tag_of
from app.api.cursors import Page
from app.api.schemas.base import Listing, Output
from app.domain.base import Entity

POLL_SECONDS = "1"


def json_of(document: BaseModel) -> bytes:
    """Return a document's JSON."""
    return document.model_dump_json(by_alias=True).encode()


def plain(
    document: BaseModel, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Answer with a document that has no tag."""
    return Response(json_of(document), status, headers, "application/json")


def tagged(
    entity: Entity,
    document: BaseModel,
    *,
    if_none_match: str | None = None,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    """Answer with an entity's document and its tag, or 304 when the caller holds it."""
    body = json_of(document)
    tag = tag_of(entity, body)
    headers = {"ETag": tag, **(headers or {})}
    if if_none_match is not None and is_held(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, status, headers, "application/json")


def accepted(entity: Entity, document: BaseModel, location: str) -> Response:
    """Answer 202: where to look, and how soon."""
    headers = {"Location": location, "Retry-After": POLL_SECONDS}
    return tagged(entity, document, status=202, headers=headers)


def created(entity: Entity, document: BaseModel, location: str) -> Response:
    """Answer 201: where it is."""
    return tagged(entity, document, status=201, headers={"Location": location})


def listed(page: Page, items: Sequence[Output], next_cursor: str | None) -> Response:
    """Answer with one page of a list."""
    return plain(
        Listing[SerializeAsAny[Output]](items=list(items), next_cursor=page.seal(next_cursor))
    )


def gone() -> Response:
    """Answer that a deletion was done."""
    return Response(status_code=204)
