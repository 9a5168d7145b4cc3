"""What every stateful entity shares: a tenant, a state, a row version and legal moves.

``begin`` and ``move`` are the only ways a state is written; each writes exactly one audit
entry in the same transaction, so an unlogged change of state cannot be expressed.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from sqlalchemy import String
from sqlalchemy.orm import Mapped, Session, declared_attr, mapped_column

from app.domain import audit
from app.domain.errors import Conflict, StaleVersion
from app.infra import clock
from app.infra.db import Base, UtcDateTime

Moves = Mapping[str, frozenset[str]]


def moves(**table: str) -> Moves:
    """Write a table of legal moves, ``a="b c"`` for a -> b and a -> c."""
    return {state: frozenset(targets.split()) for state, targets in table.items()}


class Entity(Base):
    """Base of the tables that have a state.

    Class attributes:
        KIND: The word used in audit entries.
        MOVES: The legal moves; a state that is no key is final.
    """

    __abstract__ = True
    KIND: ClassVar[str]
    MOVES: ClassVar[Moves]

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    state: Mapped[str] = mapped_column(String(30), index=True)
    row_version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, object]:  # noqa: N805 - SQLAlchemy's convention
        """Let every UPDATE compare and count up the row version (optimistic lock)."""
        return {"version_id_col": cls.__table__.c.row_version} if hasattr(cls, "__table__") else {}

    @property
    def etag(self) -> str:
        """Strong entity tag of the row."""
        return f'"{self.id}.{self.row_version}"'

    def links(self) -> audit.Links:
        """Return the ids that this entity's audit entries carry; overridden by tables."""
        return audit.Links()

    def require_etag(self, if_match: str | None) -> None:
        """Compare with the caller's ``If-Match``; None and ``*`` match anything.

        Raises:
            StaleVersion: It is another one.
        """
        if if_match not in (None, "*", self.etag):
            raise StaleVersion


def begin(
    tx: Session,
    entity: Entity,
    actor: audit.Actor,
    **facts: object,
) -> None:
    """Add a new entity in its first state and write its entry (``<kind>.created``)."""
    tx.add(entity)
    tx.flush()
    _record(tx, entity, actor, None, entity.state, "created", facts)


def move(
    tx: Session,
    entity: Entity,
    to: str,
    actor: audit.Actor,
    **facts: object,
) -> None:
    """Change the state and write the entry (``<kind>.<to>``).

    Args:
        tx: The transaction; the entity should have been read in it (``for_update`` helps).
        entity: What moves.
        to: The new state.
        actor: Who moves it.
        **facts: PII-free facts of the change; ``request_id``, ``job_id`` and ``version_id``
            override the entity's own links, and ``detail_commitment`` is one of them.

    Raises:
        Conflict: The move is not in the table.
    """
    before = entity.state
    if to not in entity.MOVES.get(before, frozenset()):
        raise Conflict(f"a {entity.KIND} cannot go from {before} to {to}", state=before)
    entity.state = to
    tx.flush()
    _record(tx, entity, actor, before, to, to, facts)


def _record(
    tx: Session,
    entity: Entity,
    actor: audit.Actor,
    before: str | None,
    to: str,
    verb: str,
    facts: dict[str, object],
) -> None:
    own = entity.links()
    links = audit.Links(
        request_id=_text(facts.pop("request_id", own.request_id)),
        job_id=_text(facts.pop("job_id", own.job_id)),
        version_id=_text(facts.pop("version_id", own.version_id)),
        detail_commitment=_text(facts.pop("detail_commitment", own.detail_commitment)),
        facts={**own.facts, **facts},
    )
    audit.append(
        tx,
        tenant_id=entity.tenant_id,
        type=f"{entity.KIND}.{verb}",
        actor=actor,
        entity_kind=entity.KIND,
        entity_id=entity.id,
        from_state=before,
        to_state=to,
        links=links,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
