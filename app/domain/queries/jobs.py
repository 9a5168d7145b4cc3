"""Reads of the jobs that clients see: those that unlearn."""

from collections.abc import Sequence

from sqlalchemy import Select, false, select
from sqlalchemy.orm import Session

from app.domain.errors import NotFound
from app.domain.jobs import Job
from app.domain.queries.catalog import load
from app.domain.queries.paging import PageOrder, Slice, fetch
from app.domain.reports import Report
from app.domain.requests import Target, TargetJob
from app.domain.texts import is_plain

UNLEARN = "unlearn"


def job(tx: Session, tenant_id: str, job_id: str) -> Job:
    """Read one job.

    Raises:
        NotFound: There is none, it is another tenant's, or it is internal.
    """
    found = load(tx, Job, tenant_id, job_id)
    if found.kind != UNLEARN:
        raise NotFound("There is no such job")
    return found


def jobs(
    tx: Session,
    tenant_id: str,
    page: PageOrder,
    *,
    state: str | None = None,
    version_id: str | None = None,
    request_id: str | None = None,
) -> Slice[Job]:
    """List jobs, newest first; a filter that can match nothing gives an empty page."""
    query = select(Job).where(Job.tenant_id == tenant_id, Job.kind == UNLEARN)
    for wanted in (state, version_id, request_id):
        if wanted is not None and not is_plain(wanted):
            query = query.where(false())
            return fetch(tx, query, Job.id, page)
    if state is not None:
        query = query.where(Job.state == state)
    if version_id is not None:
        query = query.where(Job.version_id == version_id)
    if request_id is not None:
        query = query.where(Job.id.in_(of_request(request_id)))
    return fetch(tx, query, Job.id, page)


def of_request(request_id: str) -> Select[str]:
    """Select the ids of the jobs that served a request's targets."""
    return (
        select(TargetJob.job_id)
        .join(Target, Target.id == TargetJob.target_id)
        .where(Target.request_id == request_id)
    )


def request_ids(tx: Session, job_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the requests each job serves, oldest first."""
    served: dict[str, list[str]] = {job_id: [] for job_id in job_ids}
    query = (
        select(TargetJob.job_id, Target.request_id)
        .join(Target, Target.id == TargetJob.target_id)
        .where(TargetJob.job_id.in_(job_ids))
        .order_by(Target.request_id)
    )
    for job_id, request_id in tx.execute(query):
        if request_id not in served[job_id]:
            served[job_id].append(request_id)
    return served


def report_of_job(tx: Session, job_id: str) -> Report | None:
    """Return what a job measured, once it has."""
    return tx.scalar(select(Report).where(Report.job_id == job_id))


def reports(tx: Session, job_ids: Sequence[str]) -> dict[str, Report]:
    """Return the reports of many jobs."""
    query = select(Report).where(Report.job_id.in_(job_ids))
    return {report.job_id: report for report in tx.scalars(query)}
