"""Uploaded weights are judged; the curvature of a serving version is kept."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.actions.ending import refuse_version
from app.domain.actions.queueing import advance, enqueue, ring, ring_waiting, succeed
from app.domain.actions.running import require_fence
from app.domain.actions.settling import call_back, has_begun_withdrawal
from app.domain.actions.taints import UNLEARN, add_target, open_targets
from app.domain.audit import WORKER
from app.domain.base import move
from app.domain.catalog import SERVING_STATES, Version, VersionTaint
from app.domain.failures import failure
from app.domain.jobs import Job
from app.domain.lineage import holds, named_by
from app.domain.requests import Request

ERASED = ("fulfilled", "partially_fulfilled")
TRAINED_ON_ERASED = "trained-on-erased-rows"


def complete_validation(
    tx: Session, job_id: str, fence: int, *, baseline: dict[str, Any], parameters: int
) -> Version:
    """Let validated weights serve.

    Args:
        tx: The transaction.
        job_id: Which job.
        fence: The claim's.
        baseline: Measurements, as the HTTP contract shows them.
        parameters: Scalars of the network.

    Returns:
        The version: ``live``; ``tainted`` with targets and jobs when unfinished requests
        concern it; ``invalid`` (``trained-on-erased-rows``) when a request that concerned it
        has begun to withdraw or finished meanwhile: nobody can unlearn rows that are gone.

    Raises:
        FenceLost: The job is another worker's now.
    """
    job = require_fence(tx, job_id, fence)
    version = tx.get_one(Version, job.version_id)
    concerned = list(
        tx.scalars(
            select(Request)
            .join(VersionTaint, VersionTaint.request_id == Request.id)
            .where(VersionTaint.version_id == version.id)
            .order_by(Request.id)
        )
    )
    unfinished = [request for request in concerned if not request.is_done]
    if any(request.state in ERASED for request in concerned) or any(
        has_begun_withdrawal(tx, request) for request in unfinished
    ):
        succeed(tx, job, WORKER)
        refuse_version(tx, WORKER, version, failure(TRAINED_ON_ERASED))
        return version
    version.baseline = baseline
    version.parameters = parameters
    targeted = {target.request_id for target in open_targets(tx, version.id)}
    for request in unfinished:
        if request.id not in targeted:
            samples = holds(tx, version, request.dataset_id, named_by(tx, request))
            add_target(tx, WORKER, request, version, samples)
            call_back(tx, WORKER, request)
    move(tx, version, "tainted" if unfinished else "live", WORKER, job_id=job.id)
    enqueue(tx, WORKER, tenant_id=job.tenant_id, kind="curvature", version_id=version.id)
    succeed(tx, job, WORKER)
    for waiting in tx.scalars(
        select(Job).where(Job.version_id == version.id, Job.kind == UNLEARN, Job.state == "queued")
    ):
        ring(tx, waiting)
    return version


def refuse_validation(tx: Session, job_id: str, fence: int, error: dict[str, Any]) -> Version:
    """Make a version invalid because of its weights; a job destroys them.

    Raises:
        FenceLost: The job is another worker's now.
    """
    job = require_fence(tx, job_id, fence)
    version = tx.get_one(Version, job.version_id)
    job.error = error
    advance(tx, job, "failed", WORKER, code=error["code"])
    refuse_version(tx, WORKER, version, error)
    ring_waiting(tx, job.tenant_id)
    return version


def complete_curvature(tx: Session, job_id: str, fence: int, record: dict[str, Any]) -> bool:
    """Keep the curvature diagonal of a version.

    Args:
        tx: The transaction.
        job_id: Which job.
        fence: The claim's.
        record: ``key`` in the object store, ``estimator``, ``rows``, ``draws``, ``seed``.

    Returns:
        False when the version has stopped serving: the object has to be destroyed.

    Raises:
        FenceLost: The job is another worker's now.
    """
    job = require_fence(tx, job_id, fence)
    version = tx.get_one(Version, job.version_id)
    if version.state not in SERVING_STATES:
        advance(tx, job, "cancelled", WORKER, reason="no-purpose-left")
        return False
    version.curvature = dict(record)
    succeed(tx, job, WORKER)
    return True
