"""Jobs are claimed, kept alive, handed back and ended.

A claim is a lease with a fence: whoever holds the highest fence may record results, everyone
else is refused. A worker that dies stops its heartbeat, its lease lapses, and the next bell
finds the job claimable again. Time is the database's.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.domain import gate
from app.domain.actions.eligibility import Eligibility, judge
from app.domain.actions.ending import end_badly
from app.domain.actions.queueing import advance
from app.domain.actions.settling import WITHDRAW
from app.domain.actions.taints import unfinished_targets
from app.domain.audit import WORKER
from app.domain.base import move
from app.domain.errors import FenceLost
from app.domain.failures import failure
from app.domain.jobs import PHASES, Job
from app.domain.requests import Request
from app.infra import clock
from app.infra.settings import settings

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
EXHAUSTED = "attempts-exhausted"
LONGEST_OWNER = 100


@dataclass(frozen=True)
class Claim:
    """A worker's right to work on a job, as long as the fence is the highest."""

    job: Job
    fence: int


class Pulse(Enum):
    """What a worker hears when it reports."""

    ALIVE = "alive"
    CANCEL = "cancel"
    """Somebody asked to stop: end with ``stop``."""
    LOST = "lost"
    """The job is another worker's, or over: drop everything."""


def claim(tx: Session, job_id: str, owner: str) -> Claim | None:
    """Take a job if it may run now.

    A job that is used up or has lost its purpose is ended here instead.

    Args:
        tx: The transaction; the claim holds once it is committed.
        job_id: Which job.
        owner: Name of the worker, for people.

    Returns:
        The claim, or None: another worker has it, it is not due, or it has to wait.
    """
    job = tx.get(Job, job_id)
    if job is None:
        return None
    gate.enter(tx, job.tenant_id)
    tx.refresh(job, with_for_update=True)
    now = clock.database_now(tx)
    is_lapsed = job.state == "running" and job.lease_until is not None and job.lease_until < now
    is_due = job.state == "queued" and job.not_before <= now
    if not (is_due or is_lapsed):
        return None
    if is_lapsed:
        advance(tx, job, "queued", WORKER, reason="lease-lapsed")
    verdict = judge(tx, job)
    if verdict is Eligibility.POINTLESS:
        advance(tx, job, "cancelled", WORKER, reason="no-purpose-left")
        return None
    if verdict is Eligibility.WAITS:
        return None
    if job.cancel_requested:
        end_badly(tx, WORKER, job, failure("cancelled"), to="cancelled")
        return None
    if is_used_up(job):
        end_badly(tx, WORKER, job, failure(EXHAUSTED, attempts=job.attempts))
        return None
    _start(tx, job, owner)
    return Claim(job, job.fence)


def is_used_up(job: Job) -> bool:
    """Tell whether a job may not be tried again.

    Destroying what the owner withdrew is tried for ever: there is no request whose state
    could ask a person for help.
    """
    if job.kind == WITHDRAW and job.request_id is None:
        return False
    return job.attempts >= settings().max_attempts


def _start(tx: Session, job: Job, owner: str) -> None:
    now = clock.database_now(tx)
    job.attempts += 1
    job.fence += 1
    job.phase = None
    job.fraction = 0.0
    job.started_at = job.started_at or now
    advance(tx, job, "running", WORKER, attempt=job.attempts)
    job.owner = owner[:LONGEST_OWNER]
    job.lease_until = now + timedelta(seconds=settings().lease_seconds)
    for target in unfinished_targets(tx, job):
        if target.state == "waiting":
            move(tx, target, "running", WORKER, job_id=job.id)
        request = tx.get_one(Request, target.request_id)
        if request.state == "scheduled":
            move(tx, request, "running", WORKER, job_id=job.id)
    tx.flush()


def heartbeat(tx: Session, job_id: str, fence: int) -> Pulse:
    """Extend the lease; passes no gate and writes no entry."""
    until = clock.database_now(tx) + timedelta(seconds=settings().lease_seconds)
    return _report(tx, job_id, fence, lease_until=until)


def progress(tx: Session, job_id: str, fence: int, phase: str, fraction: float) -> Pulse:
    """Say how far the work is.

    Args:
        tx: The transaction.
        job_id: Which job.
        fence: The claim's.
        phase: One of ``jobs.PHASES``.
        fraction: Of the whole job, 0 to 1.

    Returns:
        Whether to go on.

    Raises:
        ValueError: There is no such phase.
    """
    if phase not in PHASES:
        raise ValueError(f"unknown phase {phase!r}")
    return _report(
        tx,
        job_id,
        fence,
        phase=phase,
        fraction=min(1.0, max(0.0, fraction)),
        progress_number=Job.progress_number + 1,
    )


def _report(tx: Session, job_id: str, fence: int, **values: Any) -> Pulse:  # column values
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.fence == fence, Job.state == "running")
        .values(**values)
        .returning(Job.cancel_requested)
        .execution_options(synchronize_session=False)
    )
    is_cancelled = tx.execute(statement).scalar_one_or_none()
    if is_cancelled is None:
        return Pulse.LOST
    return Pulse.CANCEL if is_cancelled else Pulse.ALIVE


def require_fence(tx: Session, job_id: str, fence: int) -> Job:
    """Return a job that the caller may still record results of.

    Raises:
        FenceLost: Another worker has it, or it is over.
    """
    job = tx.get(Job, job_id)
    if job is None:
        raise FenceLost
    gate.enter(tx, job.tenant_id)
    locked = select(Job).where(Job.id == job_id).with_for_update()
    job = tx.scalars(locked.execution_options(populate_existing=True)).one()
    if job.state != "running" or job.fence != fence:
        raise FenceLost
    return job


def release(tx: Session, job_id: str, fence: int, error: dict[str, Any]) -> Job:
    """Hand a job back after something unexpected; it is tried again after a pause.

    Args:
        tx: The transaction.
        job_id: Which job.
        fence: The claim's.
        error: What happened, see ``app.domain.failures``.

    Returns:
        The job: ``queued``, or ``failed`` when its attempts are used up.

    Raises:
        FenceLost: It is another worker's now.
    """
    job = require_fence(tx, job_id, fence)
    if is_used_up(job):
        end_badly(tx, WORKER, job, failure(EXHAUSTED, attempts=job.attempts, last=error["code"]))
        return job
    pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(job.attempts - 1, 10))
    job.error = error
    job.not_before = clock.database_now(tx) + timedelta(seconds=pause)
    advance(tx, job, "queued", WORKER, code=error["code"])
    job.rung_at = None
    tx.flush()
    return job


def fail(tx: Session, job_id: str, fence: int, error: dict[str, Any]) -> Job:
    """End a job for good, with what that means for what it was about.

    Raises:
        FenceLost: It is another worker's now.
    """
    job = require_fence(tx, job_id, fence)
    end_badly(tx, WORKER, job, error)
    return job


def stop(tx: Session, job_id: str, fence: int) -> Job:
    """End a job that somebody asked to stop; its requests wait for a person.

    Raises:
        FenceLost: It is another worker's now.
    """
    job = require_fence(tx, job_id, fence)
    end_badly(tx, WORKER, job, failure("cancelled"), to="cancelled")
    return job
