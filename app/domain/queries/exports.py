"""The log of one tenant, to take along: leaves in their order, and the checkpoint above them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.errors import FieldError, Refused
from app.domain.log import Leaf
from app.domain.queries.log import checkpoint, note_of


@dataclass(frozen=True)
class Extent:
    """Which leaves are exported.

    Attributes:
        note: The checkpoint that is over them, with its cosignatures.
        start: Index from which on.
        stop: Index up to, not including, which.
    """

    note: bytes
    start: int
    stop: int


@dataclass(frozen=True)
class ExportedLeaf:
    """A leaf of the tenant."""

    index: int
    leaf_hash: bytes
    leaf: bytes


def extent(tx: Session, start: int, stop: int | None) -> Extent:
    """Decide what is exported.

    Args:
        tx: The transaction.
        start: Index from which on.
        stop: Index up to, not including, which; None for all that is signed.

    Raises:
        NotFound: Nothing has been signed yet.
        Refused: The log has not signed that many leaves.
    """
    signed = checkpoint(tx)
    if stop is not None and stop > signed.size:
        fault = FieldError("/to", "out-of-range", "is larger than what the log has signed")
        raise Refused("The log is not that long", code="no-such-leaves", errors=[fault])
    return Extent(note_of(tx, signed), start, signed.size if stop is None else stop)


def leaves(
    tx: Session, tenant_id: str, start: int, stop: int, limit: int
) -> Sequence[ExportedLeaf]:
    """Return the tenant's leaves from one index up to another, at most ``limit`` of them."""
    query = (
        select(Leaf.index, Leaf.leaf_hash, Leaf.leaf)
        .where(Leaf.tenant_id == tenant_id, Leaf.index >= start, Leaf.index < stop)
        .order_by(Leaf.index)
        .limit(limit)
    )
    return [ExportedLeaf(*row) for row in tx.execute(query)]
