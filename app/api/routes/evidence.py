"""The certificate of a request, and the archive that lets anybody check it offline."""

from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app.api.dependencies import Look, RequestReader
from app.api.errors import problems
from app.api.routing import ApiRoute
from app.api.schemas.log import EnvelopeOut
from app.domain.errors import Conflict, NotFound, Refused
from app.domain.queries import catalog, evidence
from app.domain.requests import Request
from app.ledger.encoding import to_base64

LARGEST_SIZE = 2**53 - 1
ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The archive.", "content": {"application/zip": {}}}
}

router = APIRouter(prefix="/v1", tags=["Requests"], route_class=ApiRoute)


@router.get(
    "/requests/{request_id}/certificate",
    response_model=EnvelopeOut,
    responses=problems(NotFound),
)
def get_certificate(
    request_id: str,
    caller: RequestReader,
    tx: Look,
    number: Annotated[
        int, Query(ge=0, le=LARGEST_SIZE, description="Later ones count from 1.")
    ] = 0,
) -> Response:
    """Show a request's certificate: a DSSE envelope; 404 until it is issued and logged."""
    request = catalog.load(tx, Request, caller.tenant_id, request_id)
    found = evidence.numbered(tx, request, number)
    return Response(found.envelope, media_type="application/json")


@router.get(
    "/requests/{request_id}/evidence.zip",
    response_class=Response,
    responses=ARCHIVE | problems(NotFound, Refused, Conflict),
)
def get_evidence(
    request_id: str,
    caller: RequestReader,
    tx: Look,
    since: Annotated[
        int | None,
        Query(ge=1, le=LARGEST_SIZE, description="Size of a checkpoint that you have kept."),
    ] = None,
) -> Response:
    """Download everything that the certificate rests on, to be verified offline."""
    request = catalog.load(tx, Request, caller.tenant_id, request_id)
    content = evidence.archive(tx, request, () if since is None else (since,))
    headers = {
        "Content-Disposition": f'attachment; filename="{request.id}-evidence.zip"',
        "Repr-Digest": f"sha-256=:{to_base64(sha256(content).digest())}:",
    }
    return Response(content, headers=headers, media_type="application/zip")
