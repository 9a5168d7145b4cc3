"""Reads of requests and their targets."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import false, select
from sqlalchemy.orm import Session

from app.domain.queries.paging import PageOrder, Slice, fetch
from app.domain.requests import Request, Target, TargetJob
from app.domain.texts import is_plain, is_storable


@dataclass(frozen=True)
class TargetView:
    """A target with the jobs that served it, in order."""

    target: Target
    job_ids: list[str]


def requests(
    tx: Session,
    tenant_id: str,
    page: PageOrder,
    *,
    state: str | None = None,
    kind: str | None = None,
    regulation: str | None = None,
    due_before: datetime | None = None,
    model_id: str | None = None,
    reference: str | None = None,
) -> Slice[Request]:
    """List requests, newest first; a filter that can match nothing gives an empty page.

    Args:
        tx: The transaction.
        tenant_id: Whose requests.
        page: Which page.
        state: Only in this state.
        kind: ``deletion`` or ``correction``.
        regulation: Only under this one.
        due_before: Only due before this time.
        model_id: Only with a target on a version of this model.
        reference: Only with exactly this reference of the controller.

    Returns:
        One page.
    """
    query = select(Request).where(Request.tenant_id == tenant_id)
    columns = {Request.state: state, Request.kind: kind, Request.regulation: regulation}
    for column, wanted in columns.items():
        if wanted is not None:
            query = query.where(column == wanted if is_plain(wanted) else false())
    if due_before is not None:
        query = query.where(Request.due_at < due_before)
    if model_id is not None:
        reached = select(Target.request_id).where(Target.model_id == model_id)
        query = query.where(Request.id.in_(reached) if is_plain(model_id) else false())
    if reference is not None:
        query = query.where(Request.reference == reference if is_storable(reference) else false())
    return fetch(tx, query, Request.id, page)


def targets(tx: Session, request_ids: Sequence[str]) -> dict[str, list[TargetView]]:
    """Return the targets of each request, in the order they were found."""
    rows = list(
        tx.scalars(select(Target).where(Target.request_id.in_(request_ids)).order_by(Target.id))
    )
    served: dict[str, list[str]] = defaultdict(list)
    for link in tx.scalars(
        select(TargetJob)
        .where(TargetJob.target_id.in_([target.id for target in rows]))
        .order_by(TargetJob.position)
    ):
        served[link.target_id].append(link.job_id)
    views: dict[str, list[TargetView]] = {request_id: [] for request_id in request_ids}
    for target in rows:
        views[target.request_id].append(TargetView(target, served[target.id]))
    return views
