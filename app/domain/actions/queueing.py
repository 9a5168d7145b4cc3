"""Jobs are queued, moved and rung for here; other verbs say when."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.domain.audit import Actor
from app.domain.base import begin, move
from app.domain.jobs import IS_UNRUNG, Bell, Job
from app.infra import clock
from app.infra.ids import new_id

MOST_BELLS = 20
"""Jobs rung for at once when something they may have waited for has ended."""


def enqueue(
    tx: Session,
    actor: Actor,
    *,
    tenant_id: str,
    kind: str,
    version_id: str | None = None,
    revision_id: str | None = None,
    request_id: str | None = None,
    not_before: datetime | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Job:
    """Queue a job, and ring for it when it is due at once.

    Args:
        tx: The transaction of the change that makes the job needed.
        actor: Who made it needed.
        tenant_id: Whose job.
        kind: One of ``jobs.KINDS``.
        version_id: The version it is about.
        revision_id: The revision it is about.
        request_id: The request it ends.
        not_before: When it may start; None: now.
        fields: Further columns of the job.

    Returns:
        The queued job.
    """
    now = clock.database_now(tx)
    job = Job(
        id=new_id("job"),
        tenant_id=tenant_id,
        state="queued",
        kind=kind,
        version_id=version_id,
        revision_id=revision_id,
        request_id=request_id,
        not_before=not_before or now,
        **(fields or {}),
    )
    begin(tx, job, actor)
    if job.not_before <= now:
        ring(tx, job)
    return job


def ring(tx: Session, job: Job) -> None:
    """Leave a bell for the dispatcher; it rings after the commit."""
    tx.add(Bell(tenant_id=job.tenant_id, job_id=job.id))


def ring_waiting(tx: Session, tenant_id: str) -> None:
    """Ring for due jobs that may have waited for the one that just ended.

    A job whose bell still hangs is left out: the outbox never outgrows the queue.
    """
    waiting = tx.execute(
        select(Job.tenant_id, Job.id.label("job_id"))
        .where(
            Job.tenant_id == tenant_id,
            Job.state == "queued",
            Job.not_before <= clock.database_now(tx),
            IS_UNRUNG,
        )
        .order_by(Job.not_before)
        .limit(MOST_BELLS)
    )
    bells = [dict(row._mapping) for row in waiting]  # noqa: SLF001 - SQLAlchemy's public name
    if bells:
        tx.execute(insert(Bell), bells)


def advance(tx: Session, job: Job, to: str, actor: Actor, **facts: object) -> None:
    """Move a job and make the change visible to those who watch its progress."""
    job.progress_number = Job.progress_number + 1
    if to != "running":
        job.owner = None
        job.lease_until = None
    if to not in ("queued", "running"):
        job.finished_at = clock.database_now(tx)
    move(tx, job, to, actor, **facts)


def succeed(tx: Session, job: Job, actor: Actor, **facts: object) -> None:
    """End a job well, and ring for what waited for it."""
    job.fraction = 1.0
    job.error = None
    advance(tx, job, "succeeded", actor, **facts)
    ring_waiting(tx, job.tenant_id)
