"""What a controller asks: requests, their targets and the rows they name.

No sample id is kept in the clear: a request holds row numbers, sealed under its own data key,
which are destroyed when it is done, and a sealed record of what it asked for (``commitments``),
which can be destroyed from then on.
"""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship

from app.domain import audit
from app.domain.base import Entity, Moves, moves
from app.domain.log import RequestCommitment
from app.infra import clock
from app.infra.db import Base, JsonDocument, UtcDateTime

DONE_STATES = ("fulfilled", "partially_fulfilled", "nothing_found", "rejected", "cancelled")
TARGET_DONE_STATES = ("fulfilled", "cancelled")


class Request(Entity):
    """A deletion or a correction, with its legal clock."""

    __tablename__ = "requests"
    KIND: ClassVar[str] = "request"
    MOVES: ClassVar[Moves] = moves(
        received="accepted awaiting_identity nothing_found rejected cancelled",
        awaiting_identity="accepted rejected cancelled",
        accepted="scheduled withdrawing on_hold cancelled rejected",
        on_hold="accepted scheduled rejected cancelled",
        scheduled="running withdrawing needs_attention cancelled on_hold rejected",
        running="publishing withdrawing needs_attention scheduled",
        publishing="withdrawing needs_attention",
        needs_attention="scheduled withdrawing cancelled",
        withdrawing="fulfilled partially_fulfilled needs_attention scheduled cancelled",
    )

    kind: Mapped[str] = mapped_column(String(20))
    """``deletion`` or ``correction``."""
    correction_kind: Mapped[str | None] = mapped_column(String(30))
    """``label_correction``, ``feature_correction`` or ``mixed``."""
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    regulation: Mapped[str] = mapped_column(String(40), index=True)
    reference: Mapped[str | None] = mapped_column(String(300))
    submitted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    counts: Mapped[dict[str, int]] = mapped_column(JsonDocument)

    @property
    def is_done(self) -> bool:
        """Tell whether nothing more will happen."""
        return self.state in DONE_STATES

    def complete(self, now: datetime) -> None:
        """Note when it ended: never before it came, though the clock be set back meanwhile."""
        self.completed_at = max(now, self.received_at)

    def links(self) -> audit.Links:
        """Name the request itself and its dataset."""
        return audit.Links(request_id=self.id, facts={"dataset_id": self.dataset_id})


class RequestRows(Base):
    """The rows a request names in one revision, and for a correction their new cells.

    ``rows``: sealed int64 row numbers, little-endian. ``corrections``: sealed overlay bytes
    (see ``app.infra.rows``). Both are under the request's data key, and set to None when the
    request is done. A removed feature concerns ``is_everything``: no row numbers are kept then.
    """

    __tablename__ = "request_rows"

    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    count: Mapped[int]
    is_everything: Mapped[bool] = mapped_column(default=False)
    rows: Mapped[bytes | None] = mapped_column(LargeBinary)
    corrections: Mapped[bytes | None] = mapped_column(LargeBinary)
    commitment: Mapped[RequestCommitment | None] = relationship(
        primaryjoin=lambda: foreign(RequestRows.request_id) == RequestCommitment.request_id,
        viewonly=True,
        lazy="joined",
    )
    """Which holds the data key."""


class Target(Entity):
    """Request x affected version. States: ``waiting, running, fulfilled, failed, cancelled``.

    ``version_id`` follows the lineage: when another job publishes a successor first, the
    target moves on to it; ``first_version_id`` stays.
    """

    __tablename__ = "targets"
    __table_args__ = (UniqueConstraint("request_id", "first_version_id"),)
    KIND: ClassVar[str] = "target"
    MOVES: ClassVar[Moves] = moves(
        waiting="running fulfilled cancelled failed",
        running="waiting fulfilled failed cancelled",
        failed="waiting fulfilled cancelled",
    )

    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), index=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), index=True)
    first_version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"))
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    result_version_id: Mapped[str | None] = mapped_column(String(40))

    def links(self) -> audit.Links:
        """Name the request and the version."""
        return audit.Links(request_id=self.request_id, version_id=self.version_id)


class TargetJob(Base):
    """The jobs that have served a target, in order."""

    __tablename__ = "target_jobs"

    target_id: Mapped[str] = mapped_column(ForeignKey("targets.id"), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    position: Mapped[int]


class IdempotencyRecord(Base):
    """The stored answer of a creating POST, sealed under the tenant's key."""

    __tablename__ = "idempotency_records"
    __table_args__ = (UniqueConstraint("tenant_id", "principal", "route", "key_digest"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    tenant_id: Mapped[str] = mapped_column(String(40))
    principal: Mapped[str] = mapped_column(String(40))
    route: Mapped[str] = mapped_column(String(200))
    key_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32))
    status: Mapped[int]
    headers: Mapped[dict[str, Any]] = mapped_column(JsonDocument)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True, default=clock.now)
