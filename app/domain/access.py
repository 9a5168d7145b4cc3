"""Tenants, API keys and scopes."""

from datetime import datetime
from typing import ClassVar

from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.audit import Actor
from app.domain.base import Entity, Moves, moves
from app.infra.db import JsonDocument, UtcDateTime

SCOPES = (
    "datasets:write",
    "models:write",
    "models:read",
    "models:download",
    "requests:write",
    "requests:read",
    "requests:decide",
    "audit:read",
    "admin",
)


class Tenant(Entity):
    """One organisation; every other row belongs to one. Its ``tenant_id`` is its own id."""

    __tablename__ = "tenants"
    KIND: ClassVar[str] = "tenant"
    MOVES: ClassVar[Moves] = moves()

    name: Mapped[str] = mapped_column(String(200))


class ApiKey(Entity):
    """A bearer key: only its keyed digest is kept. States: ``active``, ``revoked``."""

    __tablename__ = "api_keys"
    KIND: ClassVar[str] = "api_key"
    MOVES: ClassVar[Moves] = moves(active="revoked")

    name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    scopes: Mapped[list[str]] = mapped_column(JsonDocument)
    is_bootstrap: Mapped[bool] = mapped_column(default=False)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    def allows(self, scope: str) -> bool:
        """Tell whether the key may do this; ``admin`` implies everything in its tenant."""
        return "admin" in self.scopes or scope in self.scopes

    @property
    def actor(self) -> Actor:
        """The key as it stands in audit entries."""
        return Actor("key", self.id)
