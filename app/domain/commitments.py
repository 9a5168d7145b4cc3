"""What a request named and asked for: committed to in the log, and kept under its data key.

The log gets a root and a digest that say nothing to whoever lacks their keys. The keys, what was
asked for and the leaves of the list lie encrypted beside the request; with them each subject can
be shown to have been named, without a word about another. When the data key is destroyed nothing
of that is left, and every proof of the log still holds.
"""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from app.domain.details import detail_of
from app.domain.errors import Gone, NotFound
from app.domain.log import RequestCommitment
from app.domain.naming import Named
from app.domain.orders import CorrectionOrder, DeletionOrder
from app.domain.requests import Request
from app.domain.tenant_keys import data_key_of, new_data_key
from app.infra import keys
from app.ledger.commitments import CommittedList, new_key
from app.ledger.disclosures import KEY_SIZE, DisclosedDetail, DisclosedMember, commit
from app.ledger.errors import NotCommitted


def members_of(named: Named) -> list[str]:
    """Return what a request named, each with its kind in front."""
    samples = (*named.sample_ids, *named.unknown_samples)
    subjects = (*named.known_subjects, *named.unknown_subjects)
    return [*(f"sample:{id}" for id in samples), *(f"subject:{id}" for id in subjects)]


def keep(
    tx: Session, request: Request, order: DeletionOrder | CorrectionOrder, members: Iterable[str]
) -> tuple[bytes, dict[str, str | int]]:
    """Commit to what a request named and asked for, and keep it encrypted.

    Args:
        tx: The transaction that accepts the request, past the tenant's gate.
        request: The request, already added.
        order: What it asks for.
        members: From ``members_of``.

    Returns:
        The request's data key, and what to log: ``commitment``, ``commitment_size`` and
        ``detail_commitment``.
    """
    data = new_data_key(tx, request.tenant_id, request.id)
    list_key, detail_key = new_key(), new_key()
    committed = CommittedList(members, list_key)
    detail = detail_of(request, order)
    detail_commitment = commit(detail, detail_key)
    record = RequestCommitment(
        request_id=request.id,
        tenant_id=request.tenant_id,
        root=committed.root(),
        size=committed.size,
        detail_commitment=detail_commitment,
        key_epoch=data.epoch,
        wrapped_key=data.wrapped,
        detail=keys.seal_box(data.key, detail_key + detail, f"{request.id}/detail"),
        members=keys.seal_box(data.key, list_key + committed.leaves, f"{request.id}/members"),
    )
    tx.add(record)
    tx.flush()
    return data.key, {
        "commitment": record.root.hex(),
        "commitment_size": record.size,
        "detail_commitment": detail_commitment.hex(),
    }


def disclosed_member(tx: Session, request_id: str, member: str) -> DisclosedMember:
    """Return what shows that a request named a member, and nothing about any other.

    Args:
        tx: The transaction.
        request_id: The request.
        member: ``sample:...`` or ``subject:...``.

    Raises:
        NotFound: ``not-named``.
        Gone: ``shredded``.
    """
    record, key = _open(tx, request_id)
    box = keys.open_box(key, record.members or b"", f"{request_id}/members")
    committed = CommittedList.stored(box[KEY_SIZE:], box[:KEY_SIZE])
    try:
        return DisclosedMember(request_id, member, committed.prove(member))
    except NotCommitted:
        raise NotFound("The request did not name this", code="not-named") from None


def disclosed_detail(tx: Session, request_id: str) -> DisclosedDetail:
    """Return what a request asked for, with the key to its commitment.

    Raises:
        Gone: ``shredded``.
    """
    record, key = _open(tx, request_id)
    box = keys.open_box(key, record.detail or b"", f"{request_id}/detail")
    return DisclosedDetail(request_id, box[KEY_SIZE:].decode(), box[:KEY_SIZE].hex())


def forget(record: RequestCommitment) -> None:
    """Destroy a request's data key and all that is under it."""
    record.wrapped_key = None
    record.detail = None
    record.members = None


def _open(tx: Session, request_id: str) -> tuple[RequestCommitment, bytes]:
    record = tx.get(RequestCommitment, request_id)
    key = None if record is None else data_key_of(record)
    if record is None or key is None:
        raise Gone("What the request named was destroyed", code="shredded")
    return record, key
