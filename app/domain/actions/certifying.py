"""Certificates are issued: built from the log, signed, stored, and logged themselves.

A request is due once the entry of its end is sealed, and with it every entry before. What
cannot be certified, such as what was done before there was a log, says so in ``failure`` and
is left to people.
"""

from hashlib import sha256

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain import audit
from app.domain.audit import SYSTEM
from app.domain.certified import build
from app.domain.following import follow
from app.domain.log import CertificateDue, IssuedCertificate
from app.domain.requests import Request
from app.infra.ids import new_id
from app.infra.signing import keyring
from app.ledger import verify
from app.ledger.certificates import Certificate
from app.ledger.entries import CERTIFICATE_ISSUED
from app.ledger.errors import LedgerError
from app.ledger.records import moment
from app.ledger.statements import PAYLOAD_TYPE

MOST_AT_ONCE = 100


def due(tx: Session) -> list[str]:
    """Return ids of requests that a certificate is to be issued about; once for each that is."""
    query = (
        select(CertificateDue.request_id)
        .where(CertificateDue.failure.is_(None))
        .order_by(CertificateDue.request_id, CertificateDue.kind)
        .limit(MOST_AT_ONCE)
    )
    return list(tx.scalars(query))


def issue(tx: Session, request_id: str) -> IssuedCertificate | None:
    """Issue a certificate that is due about a request: the first one before any other.

    Args:
        tx: A transaction of its own.
        request_id: Which request.

    Returns:
        The certificate; None if another process issues it, it cannot be issued, or a later one
        would add nothing.

    Raises:
        SigningError: No key may sign now; the request stays due.
    """
    waiting = _taken(tx, request_id)
    if waiting is None:
        return None
    request = tx.get_one(Request, request_id)
    try:
        certificate = _made(tx, request, waiting.kind, keyring().origin)
        if certificate is None:
            tx.delete(waiting)
            return None
        payload = bytes(certificate.statement())
        verify.read_certificate(payload)
    except verify.Refused as refusal:
        waiting.failure = refusal.name
        return None
    except (LedgerError, LookupError, TypeError, ValueError) as error:
        # Whatever is odd about one request must not keep the others waiting.
        waiting.failure = type(error).__name__
        return None
    # Looked up after the time is settled: keys may change hands meanwhile.
    signer = keyring().signer(moment(certificate.issued_at))
    return _store(tx, waiting, certificate, bytes(signer.sign_envelope(PAYLOAD_TYPE, payload)))


def _taken(tx: Session, request_id: str) -> CertificateDue | None:
    """Return the first one due; None if there is none, or another process has taken it."""
    due = CertificateDue.request_id == request_id, CertificateDue.failure.is_(None)
    # Chosen before it is locked: what is skipped as locked must not let the next one pass.
    kind = select(CertificateDue.kind).where(*due).order_by(CertificateDue.kind).limit(1)
    return tx.scalar(
        select(CertificateDue)
        .where(*due, CertificateDue.kind == kind.scalar_subquery())
        .with_for_update(skip_locked=True)
    )


def _made(tx: Session, request: Request, kind: str, origin: str) -> Certificate | None:
    if kind == "completed":
        return build(tx, request, origin)
    return follow(tx, request, kind, origin)


def _store(
    tx: Session, waiting: CertificateDue, certificate: Certificate, envelope: bytes
) -> IssuedCertificate:
    digest = sha256(bytes(certificate.statement())).hexdigest()
    id, request_id, tenant_id = new_id("cert"), waiting.request_id, waiting.tenant_id
    entry = audit.append(
        tx,
        tenant_id=tenant_id,
        type=CERTIFICATE_ISSUED,
        actor=SYSTEM,
        entity_kind="certificate",
        entity_id=id,
        links=audit.Links(
            request_id=request_id,
            facts={"certificate_sha256": digest, "kind": certificate.kind},
        ),
    )
    earlier = tx.scalar(
        select(func.count())
        .select_from(IssuedCertificate)
        .where(IssuedCertificate.request_id == request_id)
    )
    issued = IssuedCertificate(
        id=id,
        tenant_id=tenant_id,
        request_id=request_id,
        number=earlier or 0,
        kind=certificate.kind,
        sha256=digest,
        envelope=envelope,
        entry_id=entry.id,
        issued_at=moment(certificate.issued_at),
    )
    tx.add(issued)
    tx.delete(waiting)
    tx.flush()
    return issued
