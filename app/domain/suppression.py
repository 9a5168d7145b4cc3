"""The suppression list: keyed digests of what must not come back in a new revision.

Digests are HMAC-SHA256 under a per-tenant key over (kind, dataset, value), so the list can be
kept for good without holding a single id. Kinds:

``sample``   a deleted sample id                         digest(sample id)
``subject``  a subject asked to be forgotten             digest(subject id)
``value``    the old value of a corrected cell           digest(sample id, column, value), and
             one of the value as a 32-bit float
``column``   a removed feature: any other value than     digest(column); the replacement is
             the replacement is refused                  in ``replacement`` (no personal data)
"""

import json
from collections.abc import Set
from datetime import datetime
from typing import Any

import numpy as np
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

LARGEST_SINGLE = float(np.finfo(np.float32).max)
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


def value_digests(place: tuple[str, str], sample_id: str, column: str, text: str) -> set[bytes]:
    """Return the digests under which an old value is suppressed.

    Args:
        place: Tenant and dataset.
        sample_id: Whose value it was.
        column: In which column.
        text: The canonical cell.

    Returns:
        That of the cell itself; another of what it becomes when its column is made narrower.
    """
    narrow = as_single(text)
    exact = digest_of(*place, "value", sample_id, column, text)
    return {exact} if narrow == text else {exact, _narrowed(place, sample_id, column, narrow)}


def is_old(place: tuple[str, str], sample_id: str, column: str, text: str, old: Set[bytes]) -> bool:
    """Tell whether a canonical cell is an old value, be its column narrower or wider now."""
    narrow = as_single(text)
    if digest_of(*place, "value", sample_id, column, narrow) in old:
        return True
    if narrow == text:
        return _narrowed(place, sample_id, column, text) in old
    return digest_of(*place, "value", sample_id, column, text) in old


def _narrowed(place: tuple[str, str], sample_id: str, column: str, text: str) -> bytes:
    return digest_of(*place, "single", sample_id, column, text)


def canonical(cell: object) -> str:
    """Write a cell so that equal values are equal texts, whatever column type held them.

    Integral numbers are written as integers, so that a column that comes back as another
    numeric type does not hide an old value.

    >>> canonical(3.0), canonical([1, 2.5]), canonical(None)
    ('3', '[1,2.5]', 'null')
    """
    return json.dumps(_plain(cell), separators=(",", ":"), ensure_ascii=False)


def as_single(text: str) -> str:
    """Return a canonical cell as it reads after it was in a column of 32-bit floats.

    The same number comes back with other digits when its column's width has changed.

    Whole numbers stay: times in seconds are further apart than 32-bit floats can tell.

    >>> as_single("0.1"), as_single('"0.1"'), as_single("[16777217,0.25]")
    ('0.10000000149011612', '"0.1"', '[16777217,0.25]')
    """
    return canonical(_single(json.loads(text)))


def _single(cell: object) -> object:
    if isinstance(cell, list):
        return [_single(item) for item in cell]
    if isinstance(cell, float) and abs(cell) <= LARGEST_SINGLE:
        return float(np.float32(cell))
    return cell


def _plain(cell: object) -> object:
    if isinstance(cell, list):
        return [_plain(item) for item in cell]
    if isinstance(cell, bool | float) and float(cell).is_integer():
        return int(cell)
    return cell
