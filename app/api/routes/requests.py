"""Deletion and correction requests: filed, previewed, read, cancelled, retried.

Approval, rejection, extension, hold and release belong here too.
"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from app.api.answers import accepted, listed, plain, tagged
from app.api.cursors import DEFAULT_LIMIT, MAX_CURSOR_CHARACTERS, MAX_LIMIT, Page, page_of, scope_of
from app.api.dependencies import (
    Decider,
    IfMatch,
    IfNoneMatch,
    Look,
    Once,
    Paging,
    Requester,
    RequestReader,
    Wait,
)
from app.api.errors import problems
from app.api.routing import ApiRoute
from app.api.schemas.audit import EntryOut
from app.api.schemas.base import Listing, Time, id_of
from app.api.schemas.requests import (
    CorrectionIn,
    DeletionIn,
    PreviewOut,
    Regulation,
    RequestKind,
    RequestOut,
    RequestState,
    SearchIn,
)
from app.api.waiting import patiently
from app.domain import requests as nouns
from app.domain.actions import cancelling, intake, retrying
from app.domain.errors import Conflict, NotFound, Refused, StaleVersion
from app.domain.queries import audit, catalog, evidence, requests

router = APIRouter(prefix="/v1", tags=["Requests"], route_class=ApiRoute)


@router.post(
    "/deletion-requests",
    status_code=202,
    response_model=RequestOut,
    responses=problems(Conflict, NotFound, Refused),
)
def submit_deletion(body: DeletionIn, caller: Requester, tx: Once) -> Response:
    """Ask for samples to be forgotten by every model trained on them."""
    request = intake.submit_deletion(tx, caller.actor, caller.tenant_id, body.order())
    return accepted(request, document(tx, request), f"/v1/requests/{request.id}")


@router.post(
    "/corrections",
    status_code=202,
    response_model=RequestOut,
    responses=problems(Conflict, NotFound, Refused),
)
def submit_correction(body: CorrectionIn, caller: Requester, tx: Once) -> Response:
    """Ask for labels or features to be put right in every model trained on them."""
    request = intake.submit_correction(tx, caller.actor, caller.tenant_id, body.order())
    return accepted(request, document(tx, request), f"/v1/requests/{request.id}")


@router.post(
    "/deletion-requests/preview",
    response_model=PreviewOut,
    responses=problems(Conflict, NotFound, Refused),
)
def preview_deletion(body: DeletionIn, caller: Requester, tx: Look) -> Response:
    """Show what a deletion would reach; nothing is stored."""
    return plain(PreviewOut.of(intake.preview_deletion(tx, caller.tenant_id, body.order())))


@router.post(
    "/corrections/preview",
    response_model=PreviewOut,
    responses=problems(Conflict, NotFound, Refused),
)
def preview_correction(body: CorrectionIn, caller: Requester, tx: Look) -> Response:
    """Show what a correction would reach; nothing is stored."""
    return plain(PreviewOut.of(intake.preview_correction(tx, caller.tenant_id, body.order())))


@router.get("/requests", response_model=Listing[RequestOut], responses=problems(Refused))
def list_requests(
    caller: RequestReader,
    tx: Look,
    page: Paging,
    state: RequestState | None = None,
    kind: RequestKind | None = None,
    regulation: Regulation | None = None,
    due_before: Time | None = None,
    model_id: Annotated[str | None, id_of("mdl")] = None,
) -> Response:
    """List requests, newest first."""
    filters = SearchIn(
        state=state, kind=kind, regulation=regulation, due_before=due_before, model_id=model_id
    )
    return _listed(tx, page, filters)


@router.post("/requests/search", response_model=Listing[RequestOut], responses=problems(Refused))
def search_requests(
    body: SearchIn,
    http_request: Request,
    caller: RequestReader,
    tx: Look,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=MAX_CURSOR_CHARACTERS)] = None,
) -> Response:
    """Search requests, also by the controller's own reference."""
    scope = scope_of(http_request.url.path, body.model_dump(exclude_none=True))
    return _listed(tx, page_of(caller.tenant_id, scope, limit, cursor), body)


@router.get(
    "/requests/{request_id}", response_model=RequestOut, responses=problems(NotFound, Refused)
)
async def get_request(
    request_id: str,
    http_request: Request,
    caller: RequestReader,
    wait: Wait = 0,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Show a request; with ``wait``, once it is done or has changed."""

    def look(tx: Session) -> tuple[Response, bool]:
        request = catalog.load(tx, nouns.Request, caller.tenant_id, request_id)
        answer = tagged(request, document(tx, request), if_none_match=if_none_match)
        has_changed = if_none_match is not None and answer.status_code != 304
        return answer, not request.is_done and not has_changed

    return await patiently(http_request, wait, look)


@router.get(
    "/requests/{request_id}/events",
    response_model=Listing[EntryOut],
    responses=problems(NotFound),
)
def list_events(request_id: str, caller: RequestReader, tx: Look, page: Paging) -> Response:
    """List a request's audit entries, oldest first."""
    request = catalog.load(tx, nouns.Request, caller.tenant_id, request_id)
    part = audit.entries(tx, caller.tenant_id, page.order, request_id=request.id)
    return listed(page, EntryOut.all_of(tx, part.items), part.next_cursor)


@router.post(
    "/requests/{request_id}/cancellation",
    response_model=RequestOut,
    responses=problems(Conflict, NotFound, StaleVersion),
)
def cancel_request(request_id: str, caller: Decider, tx: Once, if_match: IfMatch) -> Response:
    """Cancel a request of which no job has started."""
    request = cancelling.cancel_request(tx, caller.actor, caller.tenant_id, request_id, if_match)
    return tagged(request, document(tx, request))


@router.post(
    "/requests/{request_id}/retry",
    response_model=RequestOut,
    responses=problems(Conflict, NotFound, StaleVersion),
)
def retry_request(request_id: str, caller: Decider, tx: Once, if_match: IfMatch) -> Response:
    """Try again what has failed; for a request that needs attention."""
    request = retrying.retry_request(tx, caller.actor, caller.tenant_id, request_id, if_match)
    return tagged(request, document(tx, request))


def document(tx: Session, request: nouns.Request) -> RequestOut:
    """Return a request's document."""
    [shown] = _documents(tx, [request])
    return shown


def _listed(tx: Session, page: Page, filters: SearchIn) -> Response:
    part = requests.requests(tx, page.tenant_id, page.order, **filters.model_dump())
    return listed(page, _documents(tx, part.items), part.next_cursor)


def _documents(tx: Session, found: Sequence[nouns.Request]) -> list[RequestOut]:
    ids = [request.id for request in found]
    targets = requests.targets(tx, ids)
    certified = evidence.certified(tx, ids)
    return [
        RequestOut.of(request, targets.get(request.id, []), is_certified=request.id in certified)
        for request in found
    ]
