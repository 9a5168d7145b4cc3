"""Tenants and API keys."""

from typing import Annotated, Literal, Self

from pydantic import Field

from app.api.schemas.base import Input, Name, Output, Time, id_of
from app.domain import access

Scope = Literal[
    "datasets:write",
    "models:write",
    "models:read",
    "models:download",
    "requests:write",
    "requests:read",
    "requests:decide",
    "audit:read",
    "admin",
]


class TenantIn(Input):
    """A new tenant."""

    name: Name


class TenantOut(Output):
    """A tenant."""

    id: str
    name: str
    state: str
    created_at: Time

    @classmethod
    def of(cls, tenant: access.Tenant) -> Self:
        """Write a tenant's document."""
        return cls(id=tenant.id, name=tenant.name, state=tenant.state, created_at=tenant.created_at)


class ApiKeyIn(Input):
    """A new key."""

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=9)]
    expires_at: Time | None = None
    tenant_id: Annotated[str, id_of("ten")] | None = Field(
        default=None, description="Another tenant's: for the bootstrap key only."
    )


class ApiKeyOut(Output):
    """A key; ``key``, the secret, is there only in the answer that made it."""

    id: str
    name: str
    tenant_id: str
    scopes: list[str]
    state: str
    expires_at: Time | None
    created_at: Time

    @classmethod
    def of(cls, key: access.ApiKey, /, **secret: str) -> Self:
        """Write a key's document."""
        return cls(
            id=key.id,
            name=key.name,
            tenant_id=key.tenant_id,
            scopes=list(key.scopes),
            state=key.state,
            expires_at=key.expires_at,
            created_at=key.created_at,
            **secret,
        )


class ApiKeyMade(ApiKeyOut):
    """A new key with its secret, shown this once."""

    key: str
