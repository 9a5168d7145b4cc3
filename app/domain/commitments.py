"""What a request named, as a commitment: it can be shown to one subject, and be forgotten.

The root goes into the log; the key stays here, sealed under the tenant's key, until it is
destroyed. The ids themselves are not kept at all.
"""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from app.domain.log import RequestCommitment
from app.domain.naming import Named
from app.domain.requests import Request
from app.infra import keys
from app.ledger.commitments import CommittedList, new_key

PURPOSE = "commitments"


def members_of(named: Named) -> list[str]:
    """Return what a request named, each with its kind in front."""
    samples = (*named.sample_ids, *named.unknown_samples)
    subjects = (*named.known_subjects, *named.unknown_subjects)
    return [*(f"sample:{id}" for id in samples), *(f"subject:{id}" for id in subjects)]


def commit(tx: Session, request: Request, members: Iterable[str]) -> dict[str, str | int]:
    """Commit to what a request named.

    Args:
        tx: The transaction that accepts the request.
        request: The request, already added.
        members: From ``members_of``.

    Returns:
        The facts to log: ``commitment`` and ``commitment_size``.
    """
    key = new_key()
    committed = CommittedList(members, key)
    record = RequestCommitment(
        request_id=request.id,
        tenant_id=request.tenant_id,
        root=committed.root(),
        size=committed.size,
        sealed_key=keys.seal_box(keys.derive(request.tenant_id, PURPOSE), key, request.id),
    )
    tx.add(record)
    tx.flush()
    return {"commitment": record.root.hex(), "commitment_size": record.size}


def key_of(record: RequestCommitment) -> bytes | None:
    """Return the key of a commitment; None once it is destroyed."""
    if record.sealed_key is None:
        return None
    return keys.open_box(
        keys.derive(record.tenant_id, PURPOSE), record.sealed_key, record.request_id
    )


def shred(tx: Session, request_id: str) -> None:
    """Destroy the key of a request's commitment; every proof of the log still holds."""
    record = tx.get(RequestCommitment, request_id)
    if record is not None:
        record.sealed_key = None
        tx.flush()
