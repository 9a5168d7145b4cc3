"""Requests taint versions and free them again; targets and their jobs are made here."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain import methods
from app.domain.actions.queueing import advance, enqueue, ring
from app.domain.audit import SYSTEM, Actor
from app.domain.base import begin, move
from app.domain.catalog import Model, Version, VersionTaint
from app.domain.jobs import Job
from app.domain.requests import (
    DONE_STATES,
    TARGET_DONE_STATES,
    Request,
    Target,
    TargetJob,
)
from app.infra import clock
from app.infra.ids import new_id

UNLEARN = "unlearn"


def taint(tx: Session, actor: Actor, version: Version, request: Request) -> None:
    """Note that a request concerns a version; a live version becomes tainted."""
    if tx.get(VersionTaint, (version.id, request.id)) is None:
        tx.add(
            VersionTaint(version_id=version.id, request_id=request.id, tenant_id=request.tenant_id)
        )
        tx.flush()
    if version.state == "live":
        move(tx, version, "tainted", actor, request_id=request.id)


def open_taints(tx: Session, version_id: str) -> list[str]:
    """Return the unfinished requests that concern a version, oldest first."""
    query = (
        select(VersionTaint.request_id)
        .join(Request, Request.id == VersionTaint.request_id)
        .where(VersionTaint.version_id == version_id, Request.state.not_in(DONE_STATES))
        .order_by(Request.id)
    )
    return list(tx.scalars(query))


def free_if_clean(tx: Session, actor: Actor, version: Version, **facts: object) -> None:
    """Make a tainted version live again when no unfinished request concerns it."""
    if version.state == "tainted" and not open_taints(tx, version.id):
        move(tx, version, "live", actor, **facts)


def add_target(
    tx: Session, actor: Actor, request: Request, version: Version, samples: int
) -> Target:
    """Make a version a target of a request, served by a job that has not started."""
    target = Target(
        id=new_id("tgt"),
        tenant_id=request.tenant_id,
        state="waiting",
        request_id=request.id,
        version_id=version.id,
        first_version_id=version.id,
        model_id=version.model_id,
    )
    begin(tx, target, actor)
    serve(tx, actor, target, samples)
    return target


def serve(tx: Session, actor: Actor, target: Target, samples: int) -> Job:
    """Let a waiting target join the queued job of its version, or queue a new one.

    Args:
        tx: The transaction.
        actor: Who makes it needed.
        target: A waiting target.
        samples: Training rows it concerns; a batch that is large enough starts at once.

    Returns:
        The job.
    """
    now = clock.database_now(tx)
    joined = tx.scalar(
        select(Job)
        .where(
            Job.kind == UNLEARN,
            Job.version_id == target.version_id,
            Job.state == "queued",
            Job.attempts == 0,
            Job.escalated_from.is_(None),
        )
        .order_by(Job.id)
        .limit(1)
    )
    if joined is not None:
        link(tx, target, joined)
        joined.samples += samples
        if joined.policy and joined.samples >= joined.policy["batching"]["max_samples"]:
            joined.not_before = min(joined.not_before, now)
            ring(tx, joined)
        return joined
    policy = tx.get_one(Model, target.model_id).policy
    wait = timedelta(seconds=policy["batching"]["max_wait_seconds"])
    is_full = samples >= policy["batching"]["max_samples"]
    job = enqueue(
        tx,
        actor,
        tenant_id=target.tenant_id,
        kind=UNLEARN,
        version_id=target.version_id,
        not_before=now if is_full else now + wait,
        fields={
            "method": policy["method"],
            "parameters": policy["parameters"],
            "policy": policy,
            "samples": samples,
        },
    )
    link(tx, target, job)
    return job


def escalate(tx: Session, actor: Actor, job: Job, targets: Sequence[Target]) -> Job:
    """Queue exact retraining for the targets of a job that failed."""
    retraining = enqueue(
        tx,
        actor,
        tenant_id=job.tenant_id,
        kind=UNLEARN,
        version_id=job.version_id,
        fields={
            "method": methods.RETRAIN,
            "parameters": {},
            "policy": job.policy,
            "samples": job.samples,
            "escalated_from": job.id,
        },
    )
    for target in targets:
        link(tx, target, retraining)
    return retraining


def link(tx: Session, target: Target, job: Job) -> None:
    """Let a job serve a target, behind those that served it before."""
    last = tx.scalar(select(func.max(TargetJob.position)).where(TargetJob.target_id == target.id))
    tx.add(
        TargetJob(
            target_id=target.id,
            job_id=job.id,
            tenant_id=target.tenant_id,
            position=0 if last is None else last + 1,
        )
    )
    tx.flush()


def unfinished_targets(tx: Session, job: Job) -> list[Target]:
    """Return the targets a job still works for, oldest first."""
    query = (
        select(Target)
        .join(TargetJob, TargetJob.target_id == Target.id)
        .where(TargetJob.job_id == job.id, Target.state.in_(("waiting", "running")))
        .order_by(Target.id)
    )
    return list(tx.scalars(query))


def current_jobs(tx: Session, target: Target) -> list[Job]:
    """Return the jobs of a target that are not done."""
    query = (
        select(Job)
        .join(TargetJob, TargetJob.job_id == Job.id)
        .where(TargetJob.target_id == target.id, Job.state.in_(("queued", "running")))
    )
    return list(tx.scalars(query))


def drop_if_idle(tx: Session, job: Job, actor: Actor = SYSTEM) -> None:
    """Cancel a queued job that serves no target any more."""
    if job.state == "queued" and not unfinished_targets(tx, job):
        advance(tx, job, "cancelled", actor, reason="no-targets-left")


def open_targets(tx: Session, version_id: str) -> list[Target]:
    """Return the targets that now stand at a version and are not terminal, oldest first."""
    query = (
        select(Target)
        .where(Target.version_id == version_id, Target.state.not_in(TARGET_DONE_STATES))
        .order_by(Target.id)
    )
    return list(tx.scalars(query))
