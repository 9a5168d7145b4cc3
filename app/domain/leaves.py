"""An audit entry as a leaf of the log: the bytes that are hashed, stored and handed out."""

from collections.abc import Mapping
from typing import Any

from app.domain.audit import AuditEntry
from app.domain.canonical import written
from app.infra import clock
from app.ledger.entries import Entity, Entry
from app.ledger.errors import MalformedJson

OMITTED = {"omitted": "too-large"}


def leaf_of(entry: AuditEntry) -> bytes:
    """Write an entry as canonical JSON.

    One entry must not keep all others from being sealed: facts that cannot be written are left
    out, and the leaf says so.
    """
    try:
        return bytes(_record(entry, entry.facts))
    except MalformedJson:
        return bytes(_record(entry, OMITTED))


def _record(entry: AuditEntry, facts: Mapping[str, Any]) -> Entry:
    return Entry(
        id=entry.id,
        tenant=entry.tenant_id,
        time=clock.rfc3339(entry.time),
        type=entry.type,
        actor=entry.actor,
        entity=Entity(entry.entity_kind, entry.entity_id),
        facts=written(facts),
        request_id=entry.request_id,
        job_id=entry.job_id,
        version_id=entry.version_id,
        from_state=entry.from_state,
        to_state=entry.to_state,
        detail_commitment=entry.detail_commitment,
    )
