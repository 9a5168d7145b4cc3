"""Answers of creating calls are kept, so that a repeated call has one effect.

Bodies may name samples: the stored answer is sealed under the tenant's key and the request's
body is kept as a keyed digest only.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.requests import IdempotencyRecord
from app.infra import keys

PURPOSE = "idempotency"


def recall(
    tx: Session, tenant_id: str, principal: str, route: str, key: str
) -> IdempotencyRecord | None:
    """Return the answer given under a caller's key, if any."""
    return tx.scalar(
        select(IdempotencyRecord).where(
            IdempotencyRecord.tenant_id == tenant_id,
            IdempotencyRecord.principal == principal,
            IdempotencyRecord.route == route,
            IdempotencyRecord.key_digest == _digest(tenant_id, "key", key),
        )
    )


def remember(
    tx: Session,
    tenant_id: str,
    principal: str,
    route: str,
    key: str,
    *,
    fingerprint: bytes,
    status: int,
    headers: Mapping[str, Any],
    body: bytes,
) -> IdempotencyRecord:
    """Keep an answer; it is written at once, so that a second call in flight fails here.

    Args:
        tx: The transaction of the call's effect.
        tenant_id: Whose call.
        principal: Id of the API key.
        route: Method and path template.
        key: What the caller sent as ``Idempotency-Key``.
        fingerprint: Of the request, see ``fingerprint_of``.
        status: Status of the answer.
        headers: Headers of the answer that belong to it.
        body: Body of the answer.

    Returns:
        The record.
    """
    digest = _digest(tenant_id, "key", key)
    record = IdempotencyRecord(
        tenant_id=tenant_id,
        principal=principal,
        route=route,
        key_digest=digest,
        fingerprint=fingerprint,
        status=status,
        headers=dict(headers),
        body=keys.seal_box(keys.derive(tenant_id, PURPOSE), body, digest.hex()),
    )
    tx.add(record)
    tx.flush()
    return record


def body_of(record: IdempotencyRecord) -> bytes:
    """Return the body of a stored answer."""
    key = keys.derive(record.tenant_id, PURPOSE)
    return keys.open_box(key, record.body, record.key_digest.hex())


def fingerprint_of(tenant_id: str, body: bytes) -> bytes:
    """Return the keyed digest of a request's body (32 bytes)."""
    return _digest(tenant_id, "body", body.hex())


def _digest(tenant_id: str, *parts: str) -> bytes:
    return keys.keyed_digest(keys.derive(tenant_id, PURPOSE), *parts)
