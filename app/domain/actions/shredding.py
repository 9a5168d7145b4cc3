"""What a request named and asked for is shown to whom it concerns, and destroyed in the end.

Shredding destroys a request's data key in the database at once. Copies of its box, in free pages
or backups, are noise as soon as the tenant's key has moved on: a new epoch begins, the data keys
that are still needed are wrapped anew, and the key of the old epoch is destroyed.
"""

from datetime import timedelta

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.domain import audit, commitments, gate, tenant_keys
from app.domain.audit import SWEEPER, Actor
from app.domain.base import move
from app.domain.errors import Conflict
from app.domain.log import RequestCommitment
from app.domain.queries.catalog import load
from app.domain.requests import DONE_STATES, Request
from app.domain.tenant_keys import TenantKey, data_key_of
from app.infra import clock
from app.infra import tenant_keys as files
from app.infra.settings import settings
from app.ledger.disclosures import DisclosedDetail, DisclosedMember

MOST_AT_ONCE = 100
MOST_WRAPPED = 500
"""Of a transaction: the tenant's other verbs wait meanwhile."""


def disclose_member(
    tx: Session, actor: Actor, tenant_id: str, request_id: str, member: str
) -> DisclosedMember:
    """Return what shows one subject to have been named; the log tells that it was asked for.

    Args:
        tx: The transaction.
        actor: Who asks.
        tenant_id: Whose request.
        request_id: Which request.
        member: ``sample:...`` or ``subject:...``.

    Raises:
        NotFound: There is no such request, or ``not-named``.
        Gone: ``shredded``.
    """
    request = load(tx, Request, tenant_id, request_id)
    found = commitments.disclosed_member(tx, request.id, member)
    _note(tx, actor, request, "member.disclosed")
    return found


def disclose_detail(tx: Session, actor: Actor, tenant_id: str, request_id: str) -> DisclosedDetail:
    """Return what a request asked for, with the proof; the log tells that it was asked for.

    Raises:
        NotFound: There is no such request.
        Gone: ``shredded``.
    """
    request = load(tx, Request, tenant_id, request_id)
    found = commitments.disclosed_detail(tx, request.id)
    _note(tx, actor, request, "detail.disclosed")
    return found


def shred(
    tx: Session, actor: Actor, tenant_id: str, request_id: str, if_match: str | None = None
) -> Request:
    """Destroy the data key of a request that has ended, and all that is under it.

    The tenant's key that wrapped it is retired: it could open copies of what is destroyed.

    Raises:
        NotFound: There is no such request.
        StaleVersion: It is not the one the caller has read.
        Conflict: It has not ended, or ``already-shredded``.
    """
    request = load(tx, Request, tenant_id, request_id, lock=True)
    request.require_etag(if_match)
    if not request.is_done:
        raise Conflict(f"The request is {request.state}", state=request.state)
    record = tx.get(RequestCommitment, request.id)
    if record is None or record.wrapped_key is None:
        raise Conflict("It was destroyed before", code="already-shredded")
    commitments.forget(record)
    record.shredded_at = clock.database_now(tx)
    key = tenant_keys.current(tx, tenant_id)
    if record.key_epoch == key.epoch:
        tenant_keys.next_epoch(tx, key, actor)
    _note(tx, actor, request, "detail.shredded")
    return request


def due(tx: Session) -> list[tuple[str, str]]:
    """Return tenants and ids of requests whose time of being shown is over."""
    oldest = clock.database_now(tx) - timedelta(days=settings().detail_days)
    query = (
        select(Request.tenant_id, Request.id)
        .join(RequestCommitment, RequestCommitment.request_id == Request.id)
        .where(
            RequestCommitment.wrapped_key.is_not(None),
            Request.state.in_(DONE_STATES),
            Request.completed_at <= oldest,
        )
        .order_by(Request.tenant_id, Request.id)
        .limit(MOST_AT_ONCE)
    )
    return [(tenant_id, request_id) for tenant_id, request_id in tx.execute(query)]


def unfinished(tx: Session) -> list[str]:
    """Return tenants who have retired keys."""
    query = select(TenantKey.tenant_id).where(TenantKey.state == "retired").distinct()
    return list(tx.scalars(query.order_by(TenantKey.tenant_id)))


def rotate(tx: Session, actor: Actor, tenant_id: str) -> TenantKey:
    """Begin a new epoch of a tenant's key; the one before is retired.

    Returns:
        The new epoch. The old one is over once ``wrap_anew`` has nothing left to do and
        ``destroy_retired`` was called.
    """
    gate.enter(tx, tenant_id)
    return tenant_keys.next_epoch(tx, tenant_keys.current(tx, tenant_id), actor)


def wrap_anew(tx: Session, tenant_id: str, most: int = MOST_WRAPPED) -> int:
    """Wrap data keys of retired epochs under the current one.

    Returns:
        How many there were; fewer than ``most`` when none is left.
    """
    gate.enter(tx, tenant_id)
    epoch = tenant_keys.current(tx, tenant_id).epoch
    retired = [key.epoch for key in _retired(tx, tenant_id) if files.is_there(tenant_id, key.epoch)]
    query = _wrapped(tenant_id).where(RequestCommitment.key_epoch.in_(retired)).limit(most)
    records = list(tx.scalars(query))
    for record in records:
        key = data_key_of(record)
        if key is not None:
            record.wrapped_key = tenant_keys.wrap(tenant_id, epoch, key, record.request_id)
            record.key_epoch = epoch
    tx.flush()
    return len(records)


def destroy_retired(tx: Session, tenant_id: str, actor: Actor = SWEEPER) -> int:
    """Destroy the keys of retired epochs under which nothing is wrapped any more.

    A key that is needed and not there is lost: an old database was restored without it. What it
    wrapped stays as it is, for the case that the file turns up again.

    Returns:
        How many were destroyed.
    """
    gate.enter(tx, tenant_id)
    count = 0
    for key in _retired(tx, tenant_id):
        needed = _wrapped(tenant_id).where(RequestCommitment.key_epoch == key.epoch).limit(1)
        if tx.scalar(needed) is None:
            # Before the commit: if that fails the next call does it again; nothing needs the key.
            files.destroy(tenant_id, key.epoch)
            move(tx, key, "destroyed", actor, epoch=key.epoch)
            count += 1
        elif not files.is_there(tenant_id, key.epoch):
            move(tx, key, "lost", actor, epoch=key.epoch)
    return count


def _retired(tx: Session, tenant_id: str) -> list[TenantKey]:
    query = select(TenantKey).where(TenantKey.tenant_id == tenant_id, TenantKey.state == "retired")
    return list(tx.scalars(query.order_by(TenantKey.epoch)))


def _wrapped(tenant_id: str) -> Select[RequestCommitment]:
    """Select the records of a tenant that still have a data key."""
    return select(RequestCommitment).where(
        RequestCommitment.tenant_id == tenant_id, RequestCommitment.wrapped_key.is_not(None)
    )


def _note(tx: Session, actor: Actor, request: Request, type: str) -> None:
    audit.append(
        tx,
        tenant_id=request.tenant_id,
        type=type,
        actor=actor,
        entity_kind=Request.KIND,
        entity_id=request.id,
        links=audit.Links(request_id=request.id),
    )
