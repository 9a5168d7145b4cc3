"""The suppression list: keyed digests of what must not come back in a new revision.

Digests are HMAC-SHA256 under a per-tenant key over (kind, dataset, value), so the list can be
kept for good without holding a single id. Kinds:

``sample``   a deleted sample id                         digest(sample id)
``subject``  a subject asked to be forgotten             digest(subject id)
``value``    the old value of a corrected cell           digest(sample id, column, value)
``column``   a removed feature: any other value than     digest(column); the replacement is
             the replacement is refused                  in ``replacement`` (no personal data)
"""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.infra import clock, keys
from app.infra.db import Base, JsonDocument, UtcDateTime

KINDS = ("sample", "subject", "value", "column")


class Suppression(Base):
    """One suppressed thing, because of one request."""

    __tablename__ = "suppressions"
    __table_args__ = (
        UniqueConstraint("dataset_id", "kind", "digest", "request_id"),
        Index("ix_suppressions_sample", "dataset_id", "sample_digest"),
        # Ids are never used again, so that the highest one tells whether anything was added.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    sample_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """For ``value``: which sample it belongs to."""
    column: Mapped[str | None] = mapped_column(Text)
    replacement: Mapped[dict[str, Any] | None] = mapped_column(JsonDocument)
    """For ``column``: ``{"value": ...}``."""
    is_known: Mapped[bool] = mapped_column(default=True)
    """False for ids that named no row when the request came."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)


def digest_of(tenant_id: str, dataset_id: str, kind: str, *parts: str) -> bytes:
    """Return the keyed digest of one thing (HMAC-SHA256, 32 bytes)."""
    key = keys.derive(tenant_id, "suppression")
    return keys.keyed_digest(key, kind, dataset_id, *parts)


def canonical(cell: object) -> str:
    """Write a cell so that equal values are equal texts, whatever column type held them.

    Integral numbers are written as integers, so that a column that comes back as another
    numeric type does not hide an old value.

    >>> canonical(3.0), canonical([1, 2.5]), canonical(None)
    ('3', '[1,2.5]', 'null')
    """
    return json.dumps(_plain(cell), separators=(",", ":"), ensure_ascii=False)


def _plain(cell: object) -> object:
    if isinstance(cell, list):
        return [_plain(item) for item in cell]
    if isinstance(cell, bool | float) and float(cell).is_integer():
        return int(cell)
    return cell
