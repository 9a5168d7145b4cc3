"""The audit trail."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.answers import listed
from app.api.dependencies import Auditor, Look, Paging
from app.api.errors import problems
from app.api.routing import ApiRoute
from app.api.schemas.audit import EntryOut
from app.api.schemas.base import Listing, id_of
from app.domain.errors import Refused
from app.domain.queries import audit

router = APIRouter(prefix="/v1/audit", tags=["Audit"], route_class=ApiRoute)


@router.get("/entries", response_model=Listing[EntryOut], responses=problems(Refused))
def list_entries(
    caller: Auditor,
    tx: Look,
    page: Paging,
    request_id: Annotated[str | None, id_of("req")] = None,
    job_id: Annotated[str | None, id_of("job")] = None,
    version_id: Annotated[str | None, id_of("mv")] = None,
    type: Annotated[str | None, Query(max_length=80, pattern=r"^[a-z_.]+$")] = None,
    after: Annotated[str | None, id_of("evt")] = None,
) -> Response:
    """List entries, oldest first: one for each change of state of each entity."""
    part = audit.entries(
        tx,
        caller.tenant_id,
        page.order,
        request_id=request_id,
        job_id=job_id,
        version_id=version_id,
        type=type,
        after=after,
    )
    return listed(page, EntryOut.all_of(tx, part.items), part.next_cursor)
