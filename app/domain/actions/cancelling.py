"""Requests are cancelled before their work starts, and jobs at any time."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.actions import suppressing
from app.domain.actions.ending import end_badly
from app.domain.actions.queueing import advance
from app.domain.actions.settling import pending_withdrawal
from app.domain.actions.taints import current_jobs, drop_if_idle, free_if_clean
from app.domain.audit import Actor
from app.domain.base import move
from app.domain.catalog import Version, VersionTaint
from app.domain.errors import Conflict
from app.domain.failures import failure
from app.domain.jobs import Job
from app.domain.lineage import holds, named_by
from app.domain.queries import jobs as job_queries
from app.domain.queries.catalog import load
from app.domain.requests import Request, RequestRows, Target
from app.infra import clock
from app.infra.tenant_keys import KeyDestroyed

STARTED = "The work on it has started"


def cancel_request(
    tx: Session, actor: Actor, tenant_id: str, request_id: str, if_match: str | None = None
) -> Request:
    """Cancel a request none of whose jobs has started.

    What this request alone suppressed and tainted is lifted; its rows are forgotten.

    Raises:
        NotFound: There is no such request.
        StaleVersion: It is not the one the caller has read.
        Conflict: ``job-started``, or ``illegal-state`` when it is done.
    """
    request = load(tx, Request, tenant_id, request_id, lock=True)
    request.require_etag(if_match)
    if request.is_done:
        raise Conflict(f"The request is {request.state}", state=request.state)
    targets = list(tx.scalars(select(Target).where(Target.request_id == request.id)))
    ending = pending_withdrawal(tx, request)
    jobs = tx.scalars(select(Job).where(Job.id.in_(job_queries.of_request(request.id))))
    if any(job.started_at is not None for job in jobs) or (
        request.state == "withdrawing" and (targets or ending is None or ending.attempts > 0)
    ):
        raise Conflict(STARTED, code="job-started")
    for target in targets:
        _leave(tx, actor, target)
    if ending is not None:
        advance(tx, ending, "cancelled", actor, reason="request-cancelled")
    suppressing.lift(tx, request)
    request.complete(clock.database_now(tx))
    move(tx, request, "cancelled", actor)
    _free_versions(tx, actor, request)
    for record in tx.scalars(select(RequestRows).where(RequestRows.request_id == request.id)):
        record.rows = None
        record.corrections = None
    tx.flush()
    return request


def cancel_job(
    tx: Session, actor: Actor, tenant_id: str, job_id: str, if_match: str | None = None
) -> Job:
    """Stop a job: at once while it is queued, at the worker's next heartbeat otherwise.

    Its requests then wait for a person: a legal duty does not end because a job does.

    Raises:
        NotFound: There is no such job.
        StaleVersion: It is not the one the caller has read.
        Conflict: It is done.
    """
    load(tx, Job, tenant_id, job_id, lock=True)
    job = job_queries.job(tx, tenant_id, job_id)
    job.require_etag(if_match)
    if job.is_done:
        raise Conflict(f"The job has {job.state}", state=job.state)
    if job.state == "queued":
        end_badly(tx, actor, job, failure("cancelled"), to="cancelled")
    else:
        job.cancel_requested = True
        tx.flush()
    return job


def _leave(tx: Session, actor: Actor, target: Target) -> None:
    """Take a target out of its job; a job without targets ends."""
    version = tx.get_one(Version, target.version_id)
    jobs = current_jobs(tx, target)
    move(tx, target, "cancelled", actor)
    for job in jobs:
        drop_if_idle(tx, job, actor)
        if job.state == "queued":
            job.samples = max(0, job.samples - _rows(tx, version, target))


def _rows(tx: Session, version: Version, target: Target) -> int:
    """Return how many training rows of the version the target concerned; 0 if nobody can tell."""
    request = tx.get_one(Request, target.request_id)
    try:
        return holds(tx, version, request.dataset_id, named_by(tx, request))
    except KeyDestroyed:
        return 0


def _free_versions(tx: Session, actor: Actor, request: Request) -> None:
    for mark in tx.scalars(select(VersionTaint).where(VersionTaint.request_id == request.id)):
        version = tx.get_one(Version, mark.version_id)
        tx.delete(mark)
        tx.flush()
        free_if_clean(tx, actor, version, request_id=request.id)
