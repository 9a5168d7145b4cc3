"""A job's result is published, or judged not good enough.

Everything a publication means happens in one transaction behind the fence: the new version,
the end of the old one, targets, jobs and requests. Either all of it is true or nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import methods, provenance, runs
from app.domain.actions.ending import end_badly
from app.domain.actions.queueing import advance, enqueue, ring, ring_waiting, succeed
from app.domain.actions.reporting import store_report
from app.domain.actions.running import require_fence
from app.domain.actions.settling import settle
from app.domain.actions.taints import (
    UNLEARN,
    drop_if_idle,
    escalate,
    free_if_clean,
    open_taints,
    open_targets,
    taint,
    unfinished_targets,
)
from app.domain.audit import WORKER
from app.domain.base import begin, move
from app.domain.catalog import Version, VersionTaint
from app.domain.jobs import JOB_DONE_STATES, Job
from app.domain.lineage import holds, named_by
from app.domain.requests import Request, Target
from app.infra.ids import new_id

INHERITED = (
    "tenant_id",
    "model_id",
    "dataset_id",
    "dataset_revision",
    "training_split",
    "holdout_split",
    "architecture",
    "inputs",
    "objective",
    "weight_decay",
    "recipe",
)


@dataclass(frozen=True)
class Outcome:
    """What a worker made.

    Attributes:
        weights_key: Where the new weights are in the object store.
        digest: Of their bytes, ``sha256:...``.
        size: Their bytes.
        parameters: Scalars of the network.
        baseline: The new version's baseline, as the HTTP contract shows it.
        report: The verification report, as the HTTP contract shows it.
        method: The method that ran; what ``auto`` chose.
        method_parameters: With these parameters.
    """

    weights_key: str
    digest: str
    size: int
    parameters: int
    baseline: dict[str, Any] | None
    report: dict[str, Any]
    method: str
    method_parameters: dict[str, Any]


def publish(tx: Session, job_id: str, fence: int, outcome: Outcome) -> Version:
    """Let a job's result take the place of the version it worked on.

    Args:
        tx: The transaction.
        job_id: Which job.
        fence: The claim's.
        outcome: What was made; its gates have passed.

    Returns:
        The new version: ``live``, or ``tainted`` when unfinished requests concern it too.

    Raises:
        FenceLost: The job is another worker's now, or over; nothing is written.
    """
    job = require_fence(tx, job_id, fence)
    old = tx.get_one(Version, job.version_id)
    served = unfinished_targets(tx, job)
    others = set(open_taints(tx, old.id)) - {target.request_id for target in served}
    new = _add_version(tx, job, old, outcome)
    for target in served:
        _fulfil(tx, target, new, job)
    covered = _hand_over(tx, old, new, others)
    move(tx, new, "tainted" if open_taints(tx, new.id) else "live", WORKER, job_id=job.id)
    old.superseded_by = new.id
    move(tx, old, "superseded", WORKER, job_id=job.id, superseded_by=new.id)
    job.result_version_id = new.id
    job.method = outcome.method
    job.parameters = outcome.method_parameters
    job.phase = "publishing"
    report = store_report(tx, job, old.id, new.id, outcome.report, outcome.method)
    chosen = outcome.method, outcome.method_parameters
    succeed(
        tx,
        job,
        WORKER,
        result_version_id=new.id,
        digest=outcome.digest,
        parent_digest=old.digest,
        report_sha256=sha256(report.canonical or b"").hexdigest(),
        inputs=provenance.inputs_of(tx, job, old, *chosen),
        seeds=provenance.seeds_of(old, *chosen),
        **runs.facts_of(tx, job.id),
    )
    _settle_all(tx, [*served, *covered])
    # Rung for last: destroying what was asked to be destroyed does not wait for it.
    enqueue(tx, WORKER, tenant_id=job.tenant_id, kind="curvature", version_id=new.id)
    return new


def reject(
    tx: Session,
    job_id: str,
    fence: int,
    error: dict[str, Any],
    *,
    report: dict[str, Any] | None = None,
    method: str | None = None,
) -> Job:
    """Publish nothing: the result failed its gates, or the method could not make one.

    What follows is the policy's ``on_gate_failure``: exact retraining where there is a recipe
    and retraining is not what failed, then a person.

    Args:
        tx: The transaction.
        job_id: Which job.
        fence: The claim's.
        error: Why.
        report: What was measured, if it came to that.
        method: The method that ran, when ``auto`` chose it.

    Returns:
        The failed job.

    Raises:
        FenceLost: The job is another worker's now, or over.
    """
    job = require_fence(tx, job_id, fence)
    version = tx.get_one(Version, job.version_id)
    job.method = method or job.method
    if report is not None:
        store_report(tx, job, version.id, None, report, job.method or methods.AUTO)
    steps = list((job.policy or {}).get("on_gate_failure", ()))
    can_retrain = version.recipe is not None and job.method != methods.RETRAIN
    if can_retrain and steps[:1] == [methods.RETRAIN]:
        targets = unfinished_targets(tx, job)
        job.error = error
        advance(tx, job, "failed", WORKER, code=error["code"], escalation=methods.RETRAIN)
        for target in targets:
            if target.state == "running":
                move(tx, target, "waiting", WORKER, job_id=job.id)
        escalate(tx, WORKER, job, targets)
        ring_waiting(tx, job.tenant_id)
    else:
        end_badly(tx, WORKER, job, error)
    return job


def nothing_to_do(tx: Session, job_id: str, fence: int) -> Job:
    """End a job whose version holds nothing of what is to be forgotten.

    Its targets are fulfilled by the version as it is; nothing is published.

    Raises:
        FenceLost: The job is another worker's now, or over.
    """
    job = require_fence(tx, job_id, fence)
    version = tx.get_one(Version, job.version_id)
    served = unfinished_targets(tx, job)
    for target in served:
        _fulfil(tx, target, version, job)
        _forget_taint(tx, version.id, target.request_id)
    job.result_version_id = version.id
    succeed(tx, job, WORKER, reason="nothing-left-to-forget")
    free_if_clean(tx, WORKER, version, reason="nothing-left-to-forget")
    _settle_all(tx, served)
    return job


def _add_version(tx: Session, job: Job, old: Version, outcome: Outcome) -> Version:
    version = Version(
        id=new_id("mv"),
        state="candidate",
        parent_id=old.id,
        produced_by_job_id=job.id,
        parameters=outcome.parameters,
        digest=outcome.digest,
        size=outcome.size,
        weights_key=outcome.weights_key,
        baseline=outcome.baseline,
        **{name: getattr(old, name) for name in INHERITED},
    )
    begin(tx, version, WORKER, job_id=job.id, digest=outcome.digest)
    return version


def _fulfil(tx: Session, target: Target, result: Version, job: Job | None) -> None:
    target.result_version_id = result.id
    facts: dict[str, object] = {"result_version_id": result.id}
    if job is not None:
        facts["job_id"] = job.id
    move(tx, target, "fulfilled", WORKER, **facts)


def _hand_over(tx: Session, old: Version, new: Version, others: set[str]) -> list[Target]:
    """Move what other unfinished requests have on the old version to the new one.

    A request whose rows are forgotten in the new version as well (the same ids were deleted
    twice) is fulfilled by it instead and does not taint it.

    Returns:
        The targets fulfilled in this way.
    """
    moved = {target.request_id: target for target in open_targets(tx, old.id)}
    covered: list[Target] = []
    for request_id in sorted(others):
        request = tx.get_one(Request, request_id)
        target = moved.get(request_id)
        if target is not None:
            target.version_id = new.id
            if holds(tx, new, request.dataset_id, named_by(tx, request)):
                taint(tx, WORKER, new, request)
            else:
                covered.append(target)
    tx.flush()
    for target in covered:
        _fulfil(tx, target, new, None)
    for job in tx.scalars(
        select(Job).where(
            Job.version_id == old.id, Job.kind == UNLEARN, Job.state.not_in(JOB_DONE_STATES)
        )
    ):
        if job.state == "queued":
            job.version_id = new.id
            drop_if_idle(tx, job, WORKER)
            if job.state == "queued":
                ring(tx, job)
    return covered


def _forget_taint(tx: Session, version_id: str, request_id: str) -> None:
    found = tx.get(VersionTaint, (version_id, request_id))
    if found is not None:
        tx.delete(found)
        tx.flush()


def _settle_all(tx: Session, targets: Sequence[Target]) -> None:
    for request_id in sorted({target.request_id for target in targets}):
        settle(tx, WORKER, tx.get_one(Request, request_id))
