"""Whether a queued job may start now, has to wait, or has become pointless."""

from enum import Enum

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from app.domain.actions.taints import UNLEARN, unfinished_targets
from app.domain.catalog import SERVING_STATES, Revision, Version
from app.domain.jobs import Job
from app.domain.requests import Request

READERS = ("unlearn", "curvature", "validate")


class Eligibility(Enum):
    """The answer."""

    READY = "ready"
    WAITS = "waits"
    POINTLESS = "pointless"


def judge(tx: Session, job: Job) -> Eligibility:
    """Judge a queued job by the state of what it is about."""
    if job.kind == UNLEARN:
        return _unlearning(tx, job)
    if job.kind == "curvature":
        return _serves(tx, job, SERVING_STATES)
    if job.kind == "validate":
        return _serves(tx, job, ("validating",))
    if job.kind == "import":
        revision = tx.get_one(Revision, job.revision_id)
        return Eligibility.READY if revision.state == "indexing" else Eligibility.POINTLESS
    return _withdrawal(tx, job)


def _unlearning(tx: Session, job: Job) -> Eligibility:
    """One job at a time on a version, and only on one that is tainted."""
    if not unfinished_targets(tx, job):
        return Eligibility.POINTLESS
    version = tx.get_one(Version, job.version_id)
    if version.state != "tainted":
        return Eligibility.WAITS
    other = select(Job.id).where(
        Job.version_id == job.version_id,
        Job.kind == UNLEARN,
        Job.state == "running",
        Job.id != job.id,
    )
    return Eligibility.WAITS if tx.scalar(other.limit(1)) else Eligibility.READY


def _serves(tx: Session, job: Job, states: tuple[str, ...]) -> Eligibility:
    version = tx.get_one(Version, job.version_id)
    return Eligibility.READY if version.state in states else Eligibility.POINTLESS


def _withdrawal(tx: Session, job: Job) -> Eligibility:
    """Rows are not taken from under a job that reads the dataset at this moment.

    Nor is it said that they are gone while an upload from before the request may hold them.
    """
    if job.request_id is None:
        return Eligibility.READY
    request = tx.get_one(Request, job.request_id)
    if request.state != "withdrawing":
        return Eligibility.POINTLESS
    reader = aliased(Job)
    reading = (
        select(reader.id)
        .join(Version, Version.id == reader.version_id)
        .where(
            Version.dataset_id == request.dataset_id,
            reader.kind.in_(READERS),
            reader.state == "running",
        )
    )
    uploaded = select(Revision.id).where(
        Revision.dataset_id == request.dataset_id,
        Revision.upload_key.is_not(None),
        Revision.created_at <= request.received_at,
    )
    is_held = tx.scalar(reading.limit(1)) or tx.scalar(uploaded.limit(1))
    return Eligibility.WAITS if is_held else Eligibility.READY
