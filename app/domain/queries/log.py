"""Reads of the log: checkpoints, leaves and proofs."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import tree
from app.domain.errors import FieldError, NotFound, Refused
from app.domain.log import Cosignature, Leaf, SignedCheckpoint
from app.domain.texts import is_plain
from app.ledger.errors import OutOfRange
from app.ledger.merkle import Span, hashes_of, inclusion_path, prove_consistency
from app.ledger.notes import VerifierKey
from app.ledger.trust import Quorum

MOST_COSIGNATURES = 1000
"""How far back a checkpoint with a quorum is looked for."""


@dataclass(frozen=True)
class Place:
    """Where an entry stands in the log."""

    index: int
    leaf_hash: str


@dataclass(frozen=True)
class Inclusion:
    """A proof that a leaf is in a tree, hashes in hexadecimal."""

    index: int
    size: int
    hashes: list[str]
    root: str


def places(tx: Session, entry_ids: Iterable[str]) -> dict[str, Place]:
    """Return the places of those entries that are sealed."""
    query = select(Leaf.entry_id, Leaf.index, Leaf.leaf_hash).where(Leaf.entry_id.in_(entry_ids))
    return {id: Place(index, hashed.hex()) for id, index, hashed in tx.execute(query)}


def newest(tx: Session, until: datetime | None = None) -> SignedCheckpoint | None:
    """Return the newest checkpoint, or the newest one from until then; None if there is none."""
    query = select(SignedCheckpoint).order_by(SignedCheckpoint.size.desc()).limit(1)
    if until is not None:
        query = query.where(SignedCheckpoint.created_at <= until)
    return tx.scalar(query)


def checkpoint(tx: Session) -> SignedCheckpoint:
    """Return the newest checkpoint.

    Raises:
        NotFound: Nothing has been signed yet.
    """
    found = newest(tx)
    if found is None:
        raise NotFound("The log has signed nothing yet", code="nothing-signed")
    return found


def cosigned(tx: Session, quorum: Quorum, least: int = 0) -> SignedCheckpoint | None:
    """Return the newest checkpoint that enough witnesses have cosigned.

    Args:
        tx: The transaction.
        quorum: Which witnesses must have.
        least: Only of a tree with at least so many leaves.

    Returns:
        The checkpoint; None if there is none among the newest ones.
    """
    if not quorum.wanted:
        found = newest(tx)
        return None if found is None or found.size < least else found
    query = (
        select(Cosignature.size, Cosignature.witness)
        .where(Cosignature.size >= least)
        .order_by(Cosignature.size.desc())
        .limit(MOST_COSIGNATURES)
    )
    seen: dict[int, set[bytes]] = defaultdict(set)
    for size, vkey in tx.execute(query):
        seen[size].add(VerifierKey.parse(vkey).public)
    for size, keys in seen.items():
        if quorum.is_met(keys):
            return tx.get_one(SignedCheckpoint, size)
    return None


def note_of(tx: Session, signed: SignedCheckpoint) -> bytes:
    """Return a checkpoint as it is shown: signed by the log, and by whoever has cosigned it."""
    query = select(Cosignature.line).where(Cosignature.size == signed.size)
    lines = tx.scalars(query.order_by(Cosignature.witness)).all()
    return signed.note + "".join(lines).encode()


def leaf(tx: Session, tenant_id: str, index: int) -> bytes:
    """Return the exact bytes of one of the tenant's leaves.

    Raises:
        NotFound: There is none, or it is another tenant's.
    """
    found = tx.scalar(select(Leaf.leaf).where(Leaf.index == index, Leaf.tenant_id == tenant_id))
    if found is None:
        raise NotFound("There is no such leaf")
    return found


def inclusion(tx: Session, tenant_id: str, entry_id: str, size: int | None) -> Inclusion:
    """Prove that one of the tenant's entries is in the tree.

    Args:
        tx: The transaction.
        tenant_id: Whose entry.
        entry_id: Which entry.
        size: Of which tree; None for that of the newest checkpoint.

    Returns:
        The proof.

    Raises:
        NotFound: There is no such entry, or it is not sealed yet.
        Refused: The tree has not that many leaves, or not yet this one.
    """
    place = None
    if is_plain(entry_id):
        place = tx.scalar(
            select(Leaf.index).where(Leaf.entry_id == entry_id, Leaf.tenant_id == tenant_id)
        )
    if place is None:
        raise NotFound("There is no such entry in the log")
    size = _known_size(tx, size, "/size")
    try:
        path = inclusion_path(place, size)
    except OutOfRange:
        refusal = _out_of_range("/size", "is a tree that does not hold the entry")
        raise refusal from None
    *hashes, root = hashes_of([*path, Span(0, size)], tree.reader(tx))
    return Inclusion(place, size, [part.hex() for part in hashes], root.hex())


def consistency(tx: Session, size: int, later_size: int | None) -> tuple[int, list[str]]:
    """Prove that the tree continues an earlier one.

    Args:
        tx: The transaction.
        size: Of the earlier tree.
        later_size: Of the later tree; None for that of the newest checkpoint.

    Returns:
        The later size and the hashes, in hexadecimal.

    Raises:
        Refused: There are no such trees.
    """
    later_size = _known_size(tx, later_size, "/to")
    try:
        hashes = prove_consistency(size, later_size, tree.reader(tx))
    except OutOfRange:
        refusal = _out_of_range("/from", "is no size from 1 to that of the later tree")
        raise refusal from None
    return later_size, [part.hex() for part in hashes]


def _known_size(tx: Session, size: int | None, pointer: str) -> int:
    newest = checkpoint(tx).size
    if size is not None and size > newest:
        refusal = _out_of_range(pointer, "is larger than what the log has signed")
        raise refusal
    return newest if size is None else size


def _out_of_range(pointer: str, detail: str) -> Refused:
    return Refused(
        "There is no such proof",
        code="no-such-proof",
        errors=[FieldError(pointer, "out-of-range", detail)],
    )
