"""What is certified about a request changes afterwards: versions are destroyed, errors found."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import audit
from app.domain.audit import WORKER, Actor
from app.domain.catalog import Version
from app.domain.errors import Conflict, FieldError, NotFound
from app.domain.following import REVOKED, newest
from app.domain.jobs import Job
from app.domain.queries.catalog import load
from app.domain.requests import Request, Target
from app.domain.texts import refuse_if

REASONS = ("issued-in-error", "key-compromised", "measured-wrongly", "restored-from-backup")
"""Why a certificate may be taken back: words, not sentences, because they go into the log."""
ENDED = ("fulfilled", "partially_fulfilled")


def revoke_certificate(
    tx: Session,
    actor: Actor,
    tenant_id: str,
    request_id: str,
    reason: str,
    if_match: str | None = None,
) -> Request:
    """Take back what was certified about a request; a later certificate will say so.

    Args:
        tx: The transaction.
        actor: Who takes it back.
        tenant_id: Whose request.
        request_id: Which request.
        reason: One of ``REASONS``.
        if_match: The request as the caller has read it.

    Returns:
        The request.

    Raises:
        NotFound: There is no such request, or nothing was certified about it.
        StaleVersion: It is not the one the caller has read.
        Refused: The reason is none.
        Conflict: ``certificate-revoked``: it was taken back before.
    """
    request = load(tx, Request, tenant_id, request_id, lock=True)
    request.require_etag(if_match)
    if reason not in REASONS:
        detail = f"takes one of {', '.join(REASONS)}"
        refuse_if([FieldError("/reason", "unknown-reason", detail)])
    last = newest(tx, request.id)
    if last is None:
        raise NotFound("The certificate is not issued yet", code="certificate-not-issued")
    before = select(audit.AuditEntry.id).where(
        audit.AuditEntry.request_id == request.id, audit.AuditEntry.type == REVOKED
    )
    if tx.scalar(before.limit(1)) is not None:
        raise Conflict("The certificate was revoked before", code="certificate-revoked")
    audit.append(
        tx,
        tenant_id=tenant_id,
        type=REVOKED,
        actor=actor,
        entity_kind="certificate",
        entity_id=last.id,
        links=audit.Links(
            request_id=request.id,
            facts={"reason": reason, "certificate_sha256": last.sha256},
        ),
    )
    return request


def note_destroyed(tx: Session, version: Version, job: Job) -> None:
    """Tell the log, for each request that has ended, that a version it reached is destroyed now.

    What was certified as still to be destroyed gets its later certificate from that.
    """
    query = (
        select(Request.id)
        .join(Target, Target.request_id == Request.id)
        .where(Target.first_version_id == version.id, Request.state.in_(ENDED))
        .order_by(Request.id)
    )
    for request_id in tx.scalars(query):
        own = version.links()
        audit.append(
            tx,
            tenant_id=version.tenant_id,
            type="withdrawal.completed",
            actor=WORKER,
            entity_kind=Version.KIND,
            entity_id=version.id,
            links=audit.Links(
                request_id=request_id, job_id=job.id, version_id=version.id, facts=own.facts
            ),
        )
