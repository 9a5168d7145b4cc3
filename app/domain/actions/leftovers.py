"""Objects that no row of the database refers to: what interrupted work has left in the store."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.catalog import Version
from app.domain.jobs import Job


@dataclass(frozen=True)
class Prefix:
    """Everything in the object store below ``prefix`` goes, except the keys to keep."""

    prefix: str
    keep: tuple[str, ...] = ()


def prefixes_of(
    tx: Session, versions: Iterable[Version], jobs: Iterable[Job]
) -> tuple[Prefix, ...]:
    """List where interrupted uploads and attempts of jobs that are over may have left something.

    Args:
        tx: The transaction.
        versions: Versions that go.
        jobs: Jobs that are done.

    Returns:
        One prefix for each place; what was published is kept.
    """
    found = []
    for version in versions:
        found.append(Prefix(f"curvature/{version.tenant_id}/{version.id}/"))
        found.append(Prefix(f"weights/{version.tenant_id}/{version.model_id}/{version.id}/"))
    for job in jobs:
        if job.kind == "unlearn":
            published = select(Version.weights_key).where(
                Version.produced_by_job_id == job.id, Version.weights_key.is_not(None)
            )
            keep = tuple(key for key in tx.scalars(published) if key is not None)
            found.append(Prefix(_place(tx, job), keep))
    return tuple(found)


def of_lost_attempts(tx: Session, job: Job) -> list[str]:
    """Return where attempts of an unfinished job that lost their fence have put their weights."""
    if job.kind != "unlearn":
        return []
    last = job.fence - 1 if job.state == "running" else job.fence
    place = _place(tx, job)
    return [f"{place}{fence}.safetensors" for fence in range(1, last + 1)]


def _place(tx: Session, job: Job) -> str:
    model_id = tx.get_one(Version, job.version_id).model_id
    return f"weights/{job.tenant_id}/{model_id}/{job.id}/"
