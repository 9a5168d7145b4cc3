"""The audit trail: one entry for each change of state, in the transaction of the change.

Entries are plain inserts; the database refuses to update or delete them (see the
migrations). They never hold a sample id, subject id, label, feature or free text.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.infra import clock
from app.infra.db import Base, JsonDocument, UtcDateTime
from app.infra.ids import new_id


@dataclass(frozen=True)
class Actor:
    """Who acts: an API key, or a part of the service."""

    kind: str
    id: str

    def __str__(self) -> str:
        """Write as ``kind:id``."""
        return f"{self.kind}:{self.id}"


WORKER = Actor("service", "worker")
SWEEPER = Actor("service", "sweeper")
SYSTEM = Actor("service", "system")


class AuditEntry(Base):
    """One change of state of one entity."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index("ix_audit_entries_tenant", "tenant_id", "id"),
        Index("ix_audit_entries_request", "request_id", "id"),
        Index("ix_audit_entries_job", "job_id", "id"),
        Index("ix_audit_entries_version", "version_id", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40))
    time: Mapped[datetime] = mapped_column(UtcDateTime)
    type: Mapped[str] = mapped_column(String(80))
    actor: Mapped[str] = mapped_column(String(80))
    entity_kind: Mapped[str] = mapped_column(String(20))
    entity_id: Mapped[str] = mapped_column(String(40))
    request_id: Mapped[str | None] = mapped_column(String(40))
    job_id: Mapped[str | None] = mapped_column(String(40))
    version_id: Mapped[str | None] = mapped_column(String(40))
    from_state: Mapped[str | None] = mapped_column(String(30))
    to_state: Mapped[str | None] = mapped_column(String(30))
    facts: Mapped[dict[str, Any]] = mapped_column(JsonDocument)
    detail_commitment: Mapped[str | None] = mapped_column(String(64))
    """To details that are kept elsewhere and can be destroyed; in hexadecimal."""


@dataclass(frozen=True)
class Links:
    """What an entry is about besides its entity."""

    request_id: str | None = None
    job_id: str | None = None
    version_id: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    detail_commitment: str | None = None


def append(
    tx: Session,
    *,
    tenant_id: str,
    type: str,
    actor: Actor,
    entity_kind: str,
    entity_id: str,
    from_state: str | None = None,
    to_state: str | None = None,
    links: Links | None = None,
) -> AuditEntry:
    """Insert one entry; nothing else is locked or read.

    Args:
        tx: The transaction of the change itself.
        tenant_id: Whose entry it is.
        type: Dotted name, such as ``version.superseded``.
        actor: Who did it.
        entity_kind: ``request``, ``target``, ``job``, ``version``, ``dataset``, ...
        entity_id: Its id.
        from_state: State before, None for a creation.
        to_state: State after.
        links: Related ids and PII-free facts (counts, digests, durations).

    Returns:
        The entry, already pending in ``tx``.
    """
    links = links or Links()
    entry = AuditEntry(
        id=new_id("evt"),
        tenant_id=tenant_id,
        time=clock.now(),
        type=type,
        actor=str(actor),
        entity_kind=entity_kind,
        entity_id=entity_id,
        request_id=links.request_id,
        job_id=links.job_id,
        version_id=links.version_id,
        from_state=from_state,
        to_state=to_state,
        facts=links.facts,
        detail_commitment=links.detail_commitment,
    )
    tx.add(entry)
    return entry
