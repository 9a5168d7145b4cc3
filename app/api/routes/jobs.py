"""Jobs: documents, live progress, cancellation."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from app.api.answers import listed, tagged
from app.api.dependencies import (
    Decider,
    IfMatch,
    IfNoneMatch,
    Look,
    Once,
    Paging,
    RequestReader,
    Wait,
    read,
)
from app.api.errors import problems
from app.api.progress import events, number_of, seen
from app.api.routing import ApiRoute
from app.api.schemas.base import Listing, id_of
from app.api.schemas.jobs import JobOut, JobState
from app.api.waiting import patiently
from app.domain.actions import cancelling
from app.domain.errors import Conflict, NotFound, Refused, StaleVersion
from app.domain.jobs import Job
from app.domain.queries import jobs

router = APIRouter(prefix="/v1/jobs", tags=["Jobs"], route_class=ApiRoute)

EVENT_SCHEMA = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+-[0-9]+$"},
        "event": {"const": "progress"},
        "data": {"type": "string", "description": "The job's document, as JSON."},
    },
}
EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events named `progress`, each with the job's document as data.",
        "content": {"text/event-stream": {"schema": EVENT_SCHEMA}},
    },
    204: {"description": "The job is done and the client has seen its last event."},
}


@router.get("", response_model=Listing[JobOut], responses=problems(Refused))
def list_jobs(
    caller: RequestReader,
    tx: Look,
    page: Paging,
    state: JobState | None = None,
    version_id: Annotated[str | None, id_of("mv")] = None,
    request_id: Annotated[str | None, id_of("req")] = None,
) -> Response:
    """List jobs, newest first."""
    part = jobs.jobs(
        tx,
        caller.tenant_id,
        page.order,
        state=state,
        version_id=version_id,
        request_id=request_id,
    )
    ids = [job.id for job in part.items]
    served, reports = jobs.request_ids(tx, ids), jobs.reports(tx, ids)
    items = [JobOut.of(job, served.get(job.id, []), reports.get(job.id)) for job in part.items]
    return listed(page, items, part.next_cursor)


@router.get("/{job_id}", response_model=JobOut, responses=problems(NotFound, Refused))
async def get_job(
    job_id: str,
    http_request: Request,
    caller: RequestReader,
    wait: Wait = 0,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Show a job; with ``wait``, once it is done or has changed."""

    def look(tx: Session) -> tuple[Response, bool]:
        job, document = _load(tx, caller.tenant_id, job_id)
        answer = tagged(job, document, if_none_match=if_none_match)
        has_changed = if_none_match is not None and answer.status_code != 304
        return answer, not job.is_done and not has_changed

    return await patiently(http_request, wait, look)


@router.get(
    "/{job_id}/progress",
    response_class=Response,
    responses=EVENT_STREAM | problems(NotFound),
)
async def follow_job(
    job_id: str,
    http_request: Request,
    caller: RequestReader,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Response:
    """Follow a job as server-sent events, from ``Last-Event-ID`` on, until it is done."""

    def look(tx: Session) -> tuple[Job, JobOut]:
        return _load(tx, caller.tenant_id, job_id)

    last = seen(last_event_id)
    job, _ = await read(look)
    if job.is_done and number_of(job) <= last:
        return Response(status_code=204)
    return StreamingResponse(
        events(http_request, look, last),
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        media_type="text/event-stream",
    )


@router.post(
    "/{job_id}/cancellation",
    response_model=JobOut,
    responses=problems(Conflict, NotFound, StaleVersion),
)
def cancel_job(job_id: str, caller: Decider, tx: Once, if_match: IfMatch) -> Response:
    """Cancel a job; one that runs stops at its next heartbeat."""
    cancelling.cancel_job(tx, caller.actor, caller.tenant_id, job_id, if_match)
    return tagged(*_load(tx, caller.tenant_id, job_id))


def _load(tx: Session, tenant_id: str, job_id: str) -> tuple[Job, JobOut]:
    job = jobs.job(tx, tenant_id, job_id)
    served = jobs.request_ids(tx, [job.id]).get(job.id, [])
    return job, JobOut.of(job, served, jobs.report_of_job(tx, job.id))
