"""What the sweeper does: jobs are taken from the dead, bells rung again, leftovers found.

Everything here may run in several processes at once, and not at all for a while.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from app.domain import gate
from app.domain.actions.ending import end_badly
from app.domain.actions.queueing import advance, ring
from app.domain.actions.running import EXHAUSTED, is_used_up
from app.domain.audit import SWEEPER
from app.domain.catalog import Revision, Version
from app.domain.failures import failure
from app.domain.jobs import IS_UNRUNG, Bell, Job
from app.domain.requests import DONE_STATES, IdempotencyRecord, Request
from app.infra import clock
from app.infra.ids import made_at
from app.infra.settings import settings

MOST_AT_ONCE = 100
IDEMPOTENCY_DAYS = 30
ORPHAN_AGE = timedelta(days=1)


def requeue_lapsed(tx: Session) -> int:
    """Take jobs whose worker has stopped its heartbeat back into the queue.

    A job that has used up its attempts fails instead; what that means is visible to people.

    Returns:
        How many jobs had lapsed.
    """
    lapsed = select(Job.id, Job.tenant_id).where(
        Job.state == "running", Job.lease_until < clock.database_now(tx)
    )
    # In the order of tenants, so that two sweepers wait for each other in one direction only.
    found = tx.execute(lapsed.order_by(Job.tenant_id, Job.id).limit(MOST_AT_ONCE)).all()
    count = 0
    for job_id, tenant_id in found:
        gate.enter(tx, tenant_id)
        job = tx.get_one(Job, job_id, populate_existing=True, with_for_update=True)
        if job.state != "running" or job.lease_until is None:
            continue
        if job.lease_until >= clock.database_now(tx):
            continue
        count += 1
        if job.cancel_requested:
            end_badly(tx, SWEEPER, job, failure("cancelled"), to="cancelled")
        elif is_used_up(job):
            end_badly(tx, SWEEPER, job, failure(EXHAUSTED, attempts=job.attempts))
        else:
            advance(tx, job, "queued", SWEEPER, reason="lease-lapsed")
            ring(tx, job)
    return count


def ring_due(tx: Session) -> int:
    """Leave bells for due jobs that nobody has come for.

    Returns:
        How many bells were left.
    """
    now = clock.database_now(tx)
    long_ago = now - timedelta(seconds=settings().ring_again_seconds)
    due = tx.execute(
        select(Job.id, Job.tenant_id)
        .where(
            Job.state == "queued",
            Job.not_before <= now,
            or_(Job.rung_at.is_(None), Job.rung_at < long_ago),
            IS_UNRUNG,
        )
        .order_by(Job.not_before)
        .limit(MOST_AT_ONCE)
    ).all()
    if due:
        bells = [{"job_id": job_id, "tenant_id": tenant_id} for job_id, tenant_id in due]
        tx.execute(insert(Bell), bells)
    return len(due)


def take_bells(tx: Session, limit: int = MOST_AT_ONCE) -> list[str]:
    """Take bells off the outbox, to be rung after the commit.

    If the process dies between commit and ringing, ``ring_due`` leaves new ones.

    Returns:
        Ids of the jobs to ring for, oldest bell first, each once.
    """
    taken = (
        select(Bell.id, Bell.job_id)
        .order_by(Bell.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    bells = tx.execute(taken).all()
    if not bells:
        return []
    jobs = list(dict.fromkeys(job_id for _, job_id in bells))
    tx.execute(delete(Bell).where(Bell.id.in_([bell_id for bell_id, _ in bells])))
    rung = update(Job).where(Job.id.in_(jobs)).values(rung_at=clock.database_now(tx))
    tx.execute(rung.execution_options(synchronize_session=False))
    return jobs


def overdue_requests(tx: Session) -> int:
    """Count the unfinished requests whose deadline has passed."""
    query = select(func.count()).where(
        Request.due_at < clock.database_now(tx), Request.state.not_in(DONE_STATES)
    )
    return tx.scalar(query) or 0


def expire_idempotency(tx: Session) -> int:
    """Forget stored answers after 30 days.

    Returns:
        How many were forgotten.
    """
    oldest = clock.database_now(tx) - timedelta(days=IDEMPOTENCY_DAYS)
    result = tx.execute(delete(IdempotencyRecord).where(IdempotencyRecord.created_at < oldest))
    return result.rowcount if isinstance(result, CursorResult) else 0


def finished_uploads(tx: Session) -> list[tuple[str, str]]:
    """List uploaded files that have been imported or refused and are still there.

    Returns:
        Id of the revision and key of the object; see ``importing.forget_upload``.
    """
    query = (
        select(Revision.id, Revision.upload_key)
        .where(Revision.upload_key.is_not(None), Revision.state != "indexing")
        .limit(MOST_AT_ONCE)
    )
    return [(revision_id, str(key)) for revision_id, key in tx.execute(query)]


def orphans(tx: Session, keys: Sequence[str]) -> list[str]:
    """Choose the objects that nothing refers to and nobody is about to refer to.

    Args:
        tx: The transaction.
        keys: Keys in the object store.

    Returns:
        Those of uploads and attempts that ended without a record, after a day.
    """
    return [key for key in keys if _is_orphan(tx, key, clock.database_now(tx) - ORPHAN_AGE)]


def _is_orphan(tx: Session, key: str, before: datetime) -> bool:
    parts = key.split("/")
    if parts[0] == "uploads" and len(parts) == 3:
        used = select(Revision.id).where(Revision.upload_key == key)
        return _is_old(parts[2], before) and tx.scalar(used) is None
    if parts[0] == "weights" and len(parts) == 5:
        if tx.scalar(select(Version.id).where(Version.weights_key == key)) is not None:
            return False
        if parts[4].startswith("upload-"):
            return _is_old(parts[4].removeprefix("upload-").removesuffix(".safetensors"), before)
        return _has_ended(tx.get(Job, parts[3]), before)
    if parts[0] == "curvature" and len(parts) == 4:
        version = tx.get(Version, parts[2])
        if version is not None and (version.curvature or {}).get("key") == key:
            return False
        preparing = select(Job).where(Job.version_id == parts[2], Job.kind == "curvature")
        return all(_has_ended(job, before) for job in tx.scalars(preparing))
    return False


def _is_old(id: str, before: datetime) -> bool:
    try:
        return made_at(id) < before
    except ValueError:
        return False


def _has_ended(job: Job | None, before: datetime) -> bool:
    return job is not None and job.finished_at is not None and job.finished_at < before
