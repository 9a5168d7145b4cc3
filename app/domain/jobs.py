"""Jobs: rows that are the queue, with lease, fence and bounded attempts; and the outbox.

A message to a worker is only a bell. What may run is decided by ``claim`` in
``app.domain.actions.running``; what may be recorded, by the fence.
"""

from datetime import datetime
from typing import Any, ClassVar, Final

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, select
from sqlalchemy.orm import Mapped, mapped_column

from app.domain import audit
from app.domain.base import Entity, Moves, moves
from app.infra import clock
from app.infra.db import Base, JsonDocument, UtcDateTime

JOB_DONE_STATES = ("succeeded", "failed", "cancelled")
PHASES = ("loading", "curvature", "updating", "verifying", "storing", "publishing")
KINDS = ("unlearn", "import", "validate", "curvature", "withdraw")


class Job(Entity):
    """One run.

    Kinds: ``unlearn`` (the only one clients see), ``import`` a revision, ``validate`` weights,
    prepare ``curvature``, ``withdraw`` what a request condemns.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_due", "state", "not_before"),)
    KIND: ClassVar[str] = "job"
    MOVES: ClassVar[Moves] = moves(
        queued="running cancelled failed succeeded",
        running="queued succeeded failed cancelled",
    )

    kind: Mapped[str] = mapped_column(String(20))
    version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"), index=True)
    revision_id: Mapped[str | None] = mapped_column(ForeignKey("revisions.id"))
    request_id: Mapped[str | None] = mapped_column(ForeignKey("requests.id"), index=True)
    """Only for ``withdraw`` jobs; an ``unlearn`` job serves requests through its targets."""
    result_version_id: Mapped[str | None] = mapped_column(String(40))
    method: Mapped[str | None] = mapped_column(String(60))
    parameters: Mapped[dict[str, Any]] = mapped_column(JsonDocument, default=dict)
    policy: Mapped[dict[str, Any] | None] = mapped_column(JsonDocument)
    """The model's policy as it stood when the job was queued."""
    samples: Mapped[int] = mapped_column(BigInteger, default=0)
    escalated_from: Mapped[str | None] = mapped_column(String(40))
    attempts: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(BigInteger, default=0)
    owner: Mapped[str | None] = mapped_column(String(100))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    not_before: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    rung_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    phase: Mapped[str | None] = mapped_column(String(20))
    fraction: Mapped[float] = mapped_column(default=0.0)
    progress_number: Mapped[int] = mapped_column(default=0)
    """Counts up with every visible change; the ``id`` of server-sent events."""
    error: Mapped[dict[str, Any] | None] = mapped_column(JsonDocument)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @property
    def is_done(self) -> bool:
        """Tell whether nothing more will happen."""
        return self.state in JOB_DONE_STATES

    def links(self) -> audit.Links:
        """Name the job, its version and its kind."""
        return audit.Links(
            request_id=self.request_id,
            job_id=self.id,
            version_id=self.version_id,
            facts={"job_kind": self.kind},
        )


class Bell(Base):
    """The outbox: a job to ring for, written in the transaction that made it due."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    )
    tenant_id: Mapped[str] = mapped_column(String(40))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)


IS_UNRUNG: Final = ~select(Bell.id).where(Bell.job_id == Job.id).exists()
"""That no bell hangs for a job: in the outbox a second one would be of no use."""
