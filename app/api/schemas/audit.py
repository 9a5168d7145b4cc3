"""Audit entries."""

from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field
from sqlalchemy.orm import Session

from app.api.schemas.base import Output, Time
from app.domain.audit import AuditEntry
from app.domain.queries import log


class EntityOut(Output):
    """What an entry is about."""

    kind: str
    id: str


class EntryOut(Output):
    """One change of state; ``index`` and ``leaf_hash`` are null until the entry is sealed."""

    index: int | None
    id: str
    time: Time
    type: str
    actor: str
    entity: EntityOut
    request_id: str | None
    job_id: str | None
    version_id: str | None
    from_state: str | None = Field(serialization_alias="from")
    to_state: str | None = Field(serialization_alias="to")
    facts: dict[str, Any]
    leaf_hash: str | None

    @classmethod
    def all_of(cls, tx: Session, entries: Sequence[AuditEntry]) -> list[Self]:
        """Write the documents of entries, with their places in the log."""
        places = log.places(tx, [entry.id for entry in entries])
        return [cls.of(entry, places.get(entry.id)) for entry in entries]

    @classmethod
    def of(cls, entry: AuditEntry, place: log.Place | None) -> Self:
        """Write an entry's document; without a place it is not sealed yet."""
        return cls(
            index=None if place is None else place.index,
            id=entry.id,
            time=entry.time,
            type=entry.type,
            actor=entry.actor,
            entity=EntityOut(kind=entry.entity_kind, id=entry.entity_id),
            request_id=entry.request_id,
            job_id=entry.job_id,
            version_id=entry.version_id,
            from_state=entry.from_state,
            to_state=entry.to_state,
            facts=entry.facts,
            leaf_hash=None if place is None else place.leaf_hash,
        )
