"""Certificates issued and collected as the supervisor and the API do it."""

from app.domain.actions import certifying
from app.domain.queries import evidence
from app.domain.requests import Request
from app.infra.db import reading, writing
from app.ledger.certificates import Certificate
from app.ledger.envelopes import Envelope
from app.ledger.verify import Expectations
from tests.sealed import seal, trusted


def expected() -> Expectations:
    """What whoever has the log's keys trusts."""
    return Expectations(keys=trusted())


def certify() -> list[str]:
    """Seal, issue what is due, and seal that; return the requests."""
    seal()
    with reading() as tx:
        due = certifying.due(tx)
    for request_id in due:
        with writing() as tx:
            certifying.issue(tx, request_id)
    seal()
    return due


def files_of(request_id: str) -> dict[str, bytes]:
    """Return the evidence about a request."""
    with reading() as tx:
        return evidence.files(tx, tx.get_one(Request, request_id))


def certificate_of(request_id: str, number: int = 0) -> Certificate:
    """Return the first or a later certificate of a request."""
    folder = f"followups/{number}/" if number else ""
    envelope = Envelope.parse(files_of(request_id)[f"{folder}certificate.dsse.json"])
    return Certificate.parse(envelope.payload)
