"""A person lets the service try again where it had given up."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.actions.settling import queue_withdrawal
from app.domain.actions.taints import current_jobs, serve
from app.domain.audit import Actor
from app.domain.base import move
from app.domain.catalog import Version
from app.domain.errors import Conflict
from app.domain.lineage import holds, named_by
from app.domain.queries.catalog import load
from app.domain.requests import TARGET_DONE_STATES, Request, Target


def retry_request(
    tx: Session, actor: Actor, tenant_id: str, request_id: str, if_match: str | None = None
) -> Request:
    """Queue new jobs for what failed, under the models' policies as they are now.

    Raises:
        NotFound: There is no such request.
        StaleVersion: It is not the one the caller has read.
        Conflict: It does not need attention.
    """
    request = load(tx, Request, tenant_id, request_id, lock=True)
    request.require_etag(if_match)
    if request.state != "needs_attention":
        raise Conflict(f"The request is {request.state}", state=request.state)
    left = list(
        tx.scalars(
            select(Target)
            .where(Target.request_id == request.id, Target.state.not_in(TARGET_DONE_STATES))
            .order_by(Target.id)
        )
    )
    named = named_by(tx, request)
    for target in left:
        if target.state == "failed":
            move(tx, target, "waiting", actor)
        if not current_jobs(tx, target):
            version = tx.get_one(Version, target.version_id)
            serve(tx, actor, target, holds(tx, version, request.dataset_id, named))
    if left:
        move(tx, request, "scheduled", actor)
    else:
        move(tx, request, "withdrawing", actor)
        queue_withdrawal(tx, actor, request)
    return request
