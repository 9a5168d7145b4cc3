"""What a request named: shown to one it concerns, shown in full, destroyed, or taken back.

Answers name samples. So none is kept for repetitions, and each is noted in the log, without ids.
"""

from fastapi import APIRouter, Response

from app.api.answers import plain, tagged
from app.api.dependencies import Discloser, IfMatch, Once, Tx
from app.api.errors import problems
from app.api.routes.requests import document
from app.api.routing import ApiRoute
from app.api.schemas.disclosures import DetailOut, MemberIn, MemberOut, RevocationIn
from app.api.schemas.requests import RequestOut
from app.domain.actions import revoking, shredding
from app.domain.errors import Conflict, Gone, NotFound, Refused, StaleVersion

PRIVATE = {"Cache-Control": "no-store"}

router = APIRouter(prefix="/v1", tags=["Requests"], route_class=ApiRoute)


@router.post(
    "/requests/{request_id}/membership",
    response_model=MemberOut,
    responses=problems(Gone, NotFound, Refused),
)
def prove_membership(request_id: str, body: MemberIn, caller: Discloser, tx: Tx) -> Response:
    """Prove that a request named one sample or subject, without a word about any other."""
    shown = shredding.disclose_member(tx, caller.actor, caller.tenant_id, request_id, body.member())
    return plain(MemberOut.of(shown), headers=PRIVATE)


@router.post(
    "/requests/{request_id}/disclosure",
    response_model=DetailOut,
    responses=problems(Gone, NotFound),
)
def disclose(request_id: str, caller: Discloser, tx: Tx) -> Response:
    """Show what a request asked for, with the key that proves it to be what was logged."""
    shown = shredding.disclose_detail(tx, caller.actor, caller.tenant_id, request_id)
    return plain(DetailOut.of(shown), headers=PRIVATE)


@router.post(
    "/requests/{request_id}/shredding",
    response_model=RequestOut,
    responses=problems(Conflict, NotFound, StaleVersion),
)
def shred(request_id: str, caller: Discloser, tx: Once, if_match: IfMatch) -> Response:
    """Destroy what is kept of what a request that has ended asked for; its proofs still hold."""
    request = shredding.shred(tx, caller.actor, caller.tenant_id, request_id, if_match)
    return tagged(request, document(tx, request))


@router.post(
    "/requests/{request_id}/revocation",
    response_model=RequestOut,
    responses=problems(Conflict, NotFound, Refused, StaleVersion),
)
def revoke(
    request_id: str, body: RevocationIn, caller: Discloser, tx: Once, if_match: IfMatch
) -> Response:
    """Take back what was certified about a request; a later certificate says so."""
    request = revoking.revoke_certificate(
        tx, caller.actor, caller.tenant_id, request_id, body.reason, if_match
    )
    return tagged(request, document(tx, request))
