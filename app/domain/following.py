"""Later certificates of a request: all is destroyed now, or an earlier one is taken back.

Like the first one they say nothing that the log does not; they follow it, and change nothing of it.
"""

from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.audit import AuditEntry
from app.domain.certified import build
from app.domain.log import IssuedCertificate, Leaf
from app.domain.requests import Request
from app.infra import clock
from app.ledger.certificates import Certificate, Cited, Follows, Log
from app.ledger.envelopes import Envelope
from app.ledger.errors import UnloggedFact
from app.ledger.records import moment

REVOKED = "certificate.revoked"


def newest(tx: Session, request_id: str) -> IssuedCertificate | None:
    """Return the last certificate issued about a request."""
    query = select(IssuedCertificate).where(IssuedCertificate.request_id == request_id)
    return tx.scalar(query.order_by(IssuedCertificate.number.desc()).limit(1))


def stated(issued: IssuedCertificate) -> Certificate:
    """Return what an issued certificate states."""
    return Certificate.parse(Envelope.parse(issued.envelope).payload)


def follow(tx: Session, request: Request, kind: str, origin: str) -> Certificate | None:
    """Put a later certificate together.

    Args:
        tx: The transaction.
        request: Its request; the entries that make it due are sealed.
        kind: ``withdrawal_completed`` or ``revoked``.
        origin: Of the log.

    Returns:
        The certificate, issued now; None if there is nothing to add to what was certified.

    Raises:
        UnloggedFact: Something it would state is not in the log.
    """
    last = newest(tx, request.id)
    if last is None or last.kind == "revoked":
        return None
    if kind == "revoked":
        return _revocation(tx, request, last)
    before, now = stated(last), build(tx, request, origin)
    if _waiting(now) or _withdrawn(now) == _withdrawn(before):
        return None
    return replace(now, kind="withdrawal_completed", follows=Follows(last.sha256))


def _revocation(tx: Session, request: Request, last: IssuedCertificate) -> Certificate:
    found = tx.execute(
        select(AuditEntry, Leaf)
        .join(Leaf, Leaf.entry_id == AuditEntry.id)
        .where(AuditEntry.request_id == request.id, AuditEntry.type == REVOKED)
        .order_by(Leaf.index)
        .limit(1)
    ).one_or_none()
    if found is None:
        raise UnloggedFact("the log does not say why the certificate is taken back")
    entry, leaf = found
    before = stated(last)
    cited = Cited(leaf.index, entry.type, leaf.leaf_hash.hex())
    times = clock.database_now(tx), clock.now(), moment(before.issued_at), entry.time
    return replace(
        before,
        kind="revoked",
        issued_at=clock.rfc3339(max(times)),
        follows=Follows(last.sha256, entry.facts["reason"]),
        log=Log(before.log.origin, (*before.log.entries, cited)),
    )


def _withdrawn(certificate: Certificate) -> int:
    return sum(target.parent.withdrawal == "withdrawn" for target in certificate.targets)


def _waiting(certificate: Certificate) -> bool:
    return any(target.parent.withdrawal == "pending" for target in certificate.targets)
