"""Cursors of lists: opaque, signed, and good only for the list they came from.

A cursor is the last key seen, with a truncated HMAC over it, the tenant, the path and the
filters; so a client can neither make one nor carry one over to another list.
"""

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query, Request

from app.api.auth import Client, caller_of
from app.api.errors import BadRequest
from app.domain.queries.paging import PageOrder
from app.infra import keys

TAG_BYTES = 16
MAX_CURSOR_CHARACTERS = 500
DEFAULT_LIMIT = 50
MAX_LIMIT = 500


@dataclass(frozen=True)
class Page:
    """Which part of a list is wanted.

    Attributes:
        limit: Most items of an answer.
        after: Key of the last item of the previous answer; None for the first.
        scope: What a cursor is bound to.
        tenant_id: Whose list it is.
    """

    limit: int
    after: str | None
    scope: str
    tenant_id: str

    @property
    def order(self) -> PageOrder:
        """What the domain's queries are asked for."""
        return PageOrder(self.limit, self.after)

    def seal(self, next_key: str | None) -> str | None:
        """Make the cursor of the next page; None at the end."""
        return None if next_key is None else _seal(self.tenant_id, self.scope, next_key)


def _tag(tenant_id: str, scope: str, key: str) -> bytes:
    secret = keys.derive(tenant_id, "cursors")
    return keys.keyed_digest(secret, scope, key)[:TAG_BYTES]


def _seal(tenant_id: str, scope: str, key: str) -> str:
    raw = _tag(tenant_id, scope, key) + key.encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _open(tenant_id: str, scope: str, cursor: str) -> str:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        tag, key = raw[:TAG_BYTES], raw[TAG_BYTES:].decode()
    except (binascii.Error, ValueError):
        raise BadRequest("this cursor was not issued here", code="invalid-cursor") from None
    if not hmac.compare_digest(tag, _tag(tenant_id, scope, key)):
        raise BadRequest("this cursor was not issued for this list", code="invalid-cursor")
    return key


def scope_of(path: str, filters: Mapping[str, object]) -> str:
    """Write what a cursor is bound to: the path and the filters, not limit and cursor."""
    named = {k: v for k, v in filters.items() if k not in {"limit", "cursor"}}
    return json.dumps([path, sorted(named.items())], default=str)


async def paging(
    http_request: Request,
    client: Annotated[Client, Depends(caller_of)],
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=MAX_CURSOR_CHARACTERS)] = None,
) -> Page:
    """Read ``limit`` and ``cursor`` of a list."""
    scope = scope_of(http_request.url.path, dict(http_request.query_params))
    return page_of(client.tenant_id, scope, limit, cursor)


def page_of(tenant_id: str, scope: str, limit: int, cursor: str | None) -> Page:
    """Make a page of a limit and an untrusted cursor.

    Raises:
        BadRequest: The cursor was not issued for this list.
    """
    after = None if cursor is None else _open(tenant_id, scope, cursor)
    return Page(limit, after, scope, tenant_id)


Paging = Annotated[Page, Depends(paging)]
"""The ``limit`` and ``cursor`` of a list."""
