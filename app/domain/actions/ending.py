"""What it means for everything else that a job ends badly."""

from typing import Any

from sqlalchemy.orm import Session

from app.domain.actions.queueing import advance, enqueue, ring_waiting
from app.domain.actions.settling import WITHDRAW, hand_to_a_person, settle
from app.domain.actions.taints import open_targets, unfinished_targets
from app.domain.audit import Actor
from app.domain.base import move
from app.domain.catalog import Dataset, Revision, Version
from app.domain.jobs import Job
from app.domain.requests import Request


def end_badly(
    tx: Session, actor: Actor, job: Job, error: dict[str, Any], *, to: str = "failed"
) -> None:
    """End a job as failed or cancelled.

    Targets of an unlearning job fail and wait for a person; a revision or a version that
    could not be judged is invalid; a request that could not be withdrawn waits for a person.

    Args:
        tx: The transaction.
        actor: Who ends it.
        job: A queued or running job.
        error: Why, see ``app.domain.failures``.
        to: ``failed`` or ``cancelled``.
    """
    job.error = error
    advance(tx, job, to, actor, code=error["code"])
    if job.kind == "unlearn":
        for target in unfinished_targets(tx, job):
            move(tx, target, "failed", actor, job_id=job.id)
            request = tx.get_one(Request, target.request_id)
            hand_to_a_person(tx, actor, request, job_id=job.id)
    elif job.kind == "import":
        revision = tx.get_one(Revision, job.revision_id)
        refuse_revision(tx, actor, revision, error)
        # A worker that died may have left rows that no request will ever find.
        enqueue(tx, actor, tenant_id=job.tenant_id, kind=WITHDRAW, revision_id=revision.id)
    elif job.kind == "validate":
        refuse_version(tx, actor, tx.get_one(Version, job.version_id), error)
    elif job.kind == WITHDRAW and job.request_id is not None:
        hand_to_a_person(tx, actor, tx.get_one(Request, job.request_id), job_id=job.id)
    ring_waiting(tx, job.tenant_id)


def refuse_revision(tx: Session, actor: Actor, revision: Revision, error: dict[str, Any]) -> None:
    """Make a revision invalid; its dataset stays on the previous one if it has one."""
    revision.error = error
    move(tx, revision, "invalid", actor, code=error["code"])
    dataset = tx.get_one(Dataset, revision.dataset_id)
    move(tx, dataset, "invalid" if dataset.revision is None else "ready", actor)


def refuse_version(tx: Session, actor: Actor, version: Version, error: dict[str, Any]) -> None:
    """Make a version invalid and have its weights destroyed.

    There is nothing to unlearn from weights that will not be served: open targets are
    fulfilled without a result.
    """
    version.error = error
    move(tx, version, "invalid", actor, code=error["code"])
    destroy_weights(tx, actor, version)
    release_targets(tx, actor, version)


def destroy_weights(tx: Session, actor: Actor, version: Version) -> None:
    """Queue the destruction of a version's objects, if it has any."""
    if version.weights_key is not None or version.curvature is not None:
        enqueue(tx, actor, tenant_id=version.tenant_id, kind=WITHDRAW, version_id=version.id)


def release_targets(tx: Session, actor: Actor, version: Version) -> None:
    """Fulfil what is open on a version whose weights go, and settle its requests."""
    for target in open_targets(tx, version.id):
        move(tx, target, "fulfilled", actor, reason=f"version-{version.state}")
        settle(tx, actor, tx.get_one(Request, target.request_id))
