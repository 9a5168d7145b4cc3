"""Who calls: the bearer key of a request, and what its scopes allow."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.domain.actions import access
from app.domain.audit import Actor
from app.domain.errors import Forbidden, Unauthenticated
from app.infra import db

MAX_KEY_CHARACTERS = 200


@dataclass(frozen=True)
class Client:
    """An authenticated key: whose it is and what it may do."""

    tenant_id: str
    key_id: str
    scopes: frozenset[str]
    is_bootstrap: bool

    @property
    def actor(self) -> Actor:
        """The key as it stands in audit entries."""
        return Actor("key", self.key_id)

    @property
    def is_admin(self) -> bool:
        """Tell whether the key may do everything within its tenant."""
        return "admin" in self.scopes

    def allows(self, *scopes: str) -> bool:
        """Tell whether the key has at least one of the scopes; ``admin`` has all."""
        return self.is_admin or not self.scopes.isdisjoint(scopes)


def authenticate(authorization: str | None) -> Client:
    """Find the key of an ``Authorization`` header.

    Raises:
        Unauthenticated: No bearer key, or an unknown, expired or revoked one.
    """
    scheme, _, secret = (authorization or "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not 0 < len(secret) <= MAX_KEY_CHARACTERS:
        raise Unauthenticated
    with db.reading() as tx:
        key = access.authenticate(tx, secret)
    return Client(key.tenant_id, key.id, frozenset(key.scopes), key.is_bootstrap)


async def caller_of(http_request: Request) -> Client:
    """Return the caller that the route has authenticated before it read the body."""
    client: Client = http_request.state.client
    return client


Caller = Annotated[Client, Depends(caller_of)]
"""Any authenticated caller."""


GUARDED: dict[Callable[..., object], tuple[str, ...]] = {}
"""The scopes each guard lets pass, for the description of the interface."""


def needs(*scopes: str) -> Callable[[Client], Awaitable[Client]]:
    """Make a dependency that lets a caller pass who has one of the scopes."""

    async def guard(client: Annotated[Client, Depends(caller_of)]) -> Client:
        if not client.allows(*scopes):
            raise Forbidden(f"this takes the scope {' or '.join(scopes)}")
        return client

    GUARDED[guard] = scopes
    return guard


DatasetReader = Annotated[
    Client, Depends(needs("datasets:write", "models:read", "models:write", "requests:write"))
]
DatasetWriter = Annotated[Client, Depends(needs("datasets:write"))]
ModelReader = Annotated[Client, Depends(needs("models:read", "models:write"))]
ModelWriter = Annotated[Client, Depends(needs("models:write"))]
Downloader = Annotated[Client, Depends(needs("models:download"))]
Requester = Annotated[Client, Depends(needs("requests:write"))]
RequestReader = Annotated[Client, Depends(needs("requests:read", "requests:decide"))]
Decider = Annotated[Client, Depends(needs("requests:write", "requests:decide"))]
Discloser = Annotated[Client, Depends(needs("requests:decide"))]
Auditor = Annotated[Client, Depends(needs("audit:read"))]
Admin = Annotated[Client, Depends(needs("admin"))]
